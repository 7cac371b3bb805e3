//! `talkback-server`: reads the settings, listens, and serves until a signal stops it.

use std::{ffi::OsString, io::Write, process::ExitCode};

use clap::Parser;
use talkback_server::{
    Action, AppOptions, AppState, OptionsError,
    admin::{self, AdminArgs},
    logging, serve, shutdown,
};
use tokio::{net::TcpListener, runtime};

fn main() -> ExitCode {
    // `admin` has arguments of its own, and reads no settings.
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|action| action == "admin") {
        let arguments = AdminArgs::parse_from([OsString::from("talkback-server admin")].into_iter().chain(arguments));
        let result = runtime(1).map_err(Into::into);
        return match result.and_then(|runtime| runtime.block_on(admin::run(&arguments, &mut std::io::stdout()))) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error),
        };
    }
    let mut options = match AppOptions::load() {
        Ok(options) => options,
        Err(OptionsError::Arguments(error)) => error.exit(),
        Err(error) => return failed(&error),
    };
    if options.action == Some(Action::Admin) {
        eprintln!("error: write `admin` before its arguments: talkback-server admin --help");
        return ExitCode::FAILURE;
    }
    if options.action == Some(Action::Check) {
        println!("{}", options.to_toml().trim_end());
        for warning in options.warnings() {
            eprintln!("warning: {warning}");
        }
        return ExitCode::SUCCESS;
    }
    logging::init(&options);
    for warning in options.warnings() {
        tracing::warn!("{warning}");
    }
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(handles) => clamp_connections(&mut options, handles),
        Err(error) => tracing::warn!(%error, "the limit on open files cannot be raised"),
    }
    match runtime(options.workers).and_then(|runtime| runtime.block_on(run(&options))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// File handles that are not for connections: listeners, files of the page, connections that are being refused.
const RESERVED_HANDLES: u64 = 128;

/// Lowers `--max-connections` to the limit on open files: without a file handle a connection can neither be accepted
/// nor refused, and would wait without an answer.
fn clamp_connections(options: &mut AppOptions, handles: u64) {
    let reserved = RESERVED_HANDLES.min(handles / 4);
    let most = usize::try_from(handles - reserved).unwrap_or(usize::MAX).max(1);
    if options.max_connections > most {
        tracing::warn!(
            wanted = options.max_connections,
            max_connections = most,
            "fewer connections than --max-connections: the system allows this process {handles} open files. Raise the limit \
             (ulimit -Hn, or LimitNOFILE= of systemd) or lower --max-connections"
        );
        options.max_connections = most;
    }
}

/// One thread gets a runtime without work stealing, which saves a fifth of the CPU time of a small message.
fn runtime(workers: usize) -> std::io::Result<runtime::Runtime> {
    let workers = match workers {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        workers => workers,
    };
    let mut builder = match workers {
        1 => runtime::Builder::new_current_thread(),
        _ => runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(workers).enable_all().build()
}

async fn run(options: &AppOptions) -> std::io::Result<()> {
    let listener = listen("--listen", &options.listen).await?;
    let operations = match &options.operations_listen {
        Some(address) => Some(listen("--operations-listen", address).await?),
        None => None,
    };
    let app = AppState::open(options).map_err(std::io::Error::other)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    if let Some(operations) = &operations {
        writeln!(stdout, "operations on http://{}", operations.local_addr()?)?;
    }
    stdout.flush()?;
    serve(listener, operations, options, app, async {
        if let Err(error) = shutdown::signal().await {
            tracing::error!(%error, "cannot receive signals: stop the server with SIGKILL");
            std::future::pending::<()>().await;
        }
    })
    .await
}

async fn listen(option: &str, address: &str) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = format!("cannot listen on {address}: {error}. Choose another {option} address");
        std::io::Error::new(error.kind(), why)
    })
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

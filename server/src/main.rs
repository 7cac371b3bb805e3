//! `talkback-server`: reads the configuration, listens, and serves until it is told to stop.

use std::{io::Write, process::ExitCode};

use talkback_server::{Action, AppOptions, OptionsError, logging, serve, shutdown};
use tokio::{net::TcpListener, runtime};

fn main() -> ExitCode {
    let mut config = match AppOptions::load() {
        Ok(config) => config,
        Err(OptionsError::Arguments(error)) => error.exit(),
        Err(error) => return failed(&error),
    };
    if config.action == Some(Action::Check) {
        println!("{}", config.to_toml().trim_end());
        for warning in config.warnings() {
            eprintln!("warning: {warning}");
        }
        return ExitCode::SUCCESS;
    }
    logging::init(&config);
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(handles) => clamp_connections(&mut config, handles),
        Err(error) => tracing::warn!(%error, "the limit on open files stays as it is"),
    }
    match runtime(config.workers).and_then(|runtime| runtime.block_on(run(&config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// File handles for all that is not a connection: listeners, files of the page, connections that are being refused.
const RESERVED_HANDLES: u64 = 128;

/// Without a handle nothing is accepted and nobody is refused: connections would wait in silence.
fn clamp_connections(config: &mut AppOptions, handles: u64) {
    let reserved = RESERVED_HANDLES.min(handles / 4);
    let most = usize::try_from(handles - reserved).unwrap_or(usize::MAX).max(1);
    if config.max_connections > most {
        tracing::warn!(
            wanted = config.max_connections,
            max_connections = most,
            "fewer connections than --max-connections: the system allows this process {handles} open files. Raise the limit \
             (ulimit -Hn, or LimitNOFILE= of systemd) or lower --max-connections"
        );
        config.max_connections = most;
    }
}

/// A single thread needs no locks and no stealing of tasks, which is a fifth of the CPU of a small message.
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

async fn run(config: &AppOptions) -> std::io::Result<()> {
    let listener = listen("--listen", &config.listen).await?;
    let operations = match &config.operations_listen {
        Some(address) => Some(listen("--operations-listen", address).await?),
        None => None,
    };
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    if let Some(operations) = &operations {
        writeln!(stdout, "operations on http://{}", operations.local_addr()?)?;
    }
    stdout.flush()?;
    serve(listener, operations, config, async {
        if let Err(error) = shutdown::signal().await {
            tracing::error!(%error, "cannot wait for signals: stop the server with SIGKILL");
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

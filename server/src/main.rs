//! `talkback-server`: reads the configuration, listens, and serves until it is told to stop.

use std::{io::Write, process::ExitCode};

use talkback_server::{Action, Config, ConfigError, logging, serve, shutdown};
use tokio::{net::TcpListener, runtime};

fn main() -> ExitCode {
    let config = match Config::load() {
        Ok(config) => config,
        Err(ConfigError::Arguments(error)) => error.exit(),
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
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    match runtime(config.workers).and_then(|runtime| runtime.block_on(run(&config))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
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

async fn run(config: &Config) -> std::io::Result<()> {
    let listener = TcpListener::bind(&config.listen).await.map_err(|error| {
        let listen = &config.listen;
        std::io::Error::new(
            error.kind(),
            format!("cannot listen on {listen}: {error}. Choose another --listen address"),
        )
    })?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    serve(listener, config, async {
        if let Err(error) = shutdown::signal().await {
            tracing::error!(%error, "cannot wait for signals: stop the server with SIGKILL");
            std::future::pending::<()>().await;
        }
    })
    .await
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

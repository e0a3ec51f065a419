//! Tasks that the server cannot run without, and the end of a server that lost one.

use crate::cli::exit_code::{COULD_NOT, INTERNAL_FAILURE};
use crate::server::context::SharedExecutor;
use crate::storage::StoreError;
use async_channel::{Receiver, Sender};
use futures_lite::FutureExt;
use smol::Task;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;

/// Why a server ended without being stopped. Its `Display` is one sentence.
#[derive(Debug)]
pub enum ServerError {
    /// The system gives no thread.
    NoThread(io::Error),
    /// The store cannot be used.
    Store(StoreError),
    /// A required task panicked, named by its work: a bug.
    TaskFailed(&'static str),
}

impl ServerError {
    /// Returns the exit status of the program.
    pub fn exit_status(&self) -> u8 {
        match self {
            ServerError::Store(_) => COULD_NOT,
            ServerError::NoThread(_) | ServerError::TaskFailed(_) => INTERNAL_FAILURE,
        }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServerError::NoThread(error) => write!(
                out,
                "Cannot start a thread: {error}; free some memory or choose fewer --threads"
            ),
            ServerError::Store(error) => write!(out, "{error}"),
            ServerError::TaskFailed(task) => write!(
                out,
                "Internal error: {task} failed and the server had to stop; please report the log lines above"
            ),
        }
    }
}

impl std::error::Error for ServerError {}

/// Spawns required tasks and reports the first one that panics.
pub(crate) struct Supervisor {
    executor: SharedExecutor,
    failed: Sender<ServerError>,
    failure: Receiver<ServerError>,
}

impl Supervisor {
    pub(crate) fn new(executor: SharedExecutor) -> Self {
        let (failed, failure) = async_channel::bounded(1);
        Supervisor {
            executor,
            failed,
            failure,
        }
    }

    /// Spawns a required task; `name` says what it does.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Task<()> {
        let failed = self.failed.clone();
        self.executor.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                // A full channel already holds the failure of another task.
                let _ = failed.try_send(ServerError::TaskFailed(name));
            }
        })
    }

    /// Waits for the first failure, if a task fails.
    pub(crate) async fn failure(&self) -> ServerError {
        match self.failure.recv().await {
            Ok(error) => error,
            // Unreachable: `self` holds a sender.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns a failure that is not reported yet.
    pub(crate) fn take_failure(&self) -> Option<ServerError> {
        self.failure.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smol::Executor;
    use std::sync::Arc;

    #[test]
    fn panic_of_a_required_task_is_reported_with_its_name() {
        let executor = Arc::new(Executor::new());
        let supervisor = Supervisor::new(executor.clone());
        let _idle = supervisor.spawn("accepting connections", std::future::pending());
        let _panicking = supervisor.spawn("the broker", async { panic!("a test") });
        let error = smol::block_on(executor.run(supervisor.failure()));
        assert_eq!(error.exit_status(), INTERNAL_FAILURE);
        assert!(error.to_string().contains("the broker failed"), "{error}");
        assert!(supervisor.take_failure().is_none());
    }
}

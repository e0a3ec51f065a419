//! A time limit for a future.

use futures_lite::FutureExt;
use smol::Timer;
use std::future::Future;
use std::time::Duration;

/// Returns the output of `future`, or `None` if it is not ready within `time`.
pub(crate) async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    async { Some(future.await) }
        .or(async {
            Timer::after(time).await;
            None
        })
        .await
}

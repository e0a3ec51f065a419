//! The screen of a client: a thread that prints or draws items.
//!
//! The output may block, which must delay neither typed lines nor signals.

use crate::client::limits::SCREEN_QUEUE;
use crate::client::output::item::OutputItem;
use async_channel::{Receiver, Sender};
use std::io;
use std::thread;

/// Bounded queue to the thread of a screen.
#[derive(Debug)]
pub(crate) struct ScreenHandle {
    queue: Sender<Vec<OutputItem>>,
    result: Receiver<io::Result<()>>,
}

impl ScreenHandle {
    /// Starts a thread that shows items by `show`, which may block, until it fails.
    pub(crate) fn start(
        mut show: impl FnMut(Vec<OutputItem>) -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, items) = async_channel::bounded(SCREEN_QUEUE);
        let (sender, result) = async_channel::bounded(1);
        thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                let mut all = std::iter::from_fn(|| items.recv_blocking().ok());
                // Fails if the client does not wait for the result any more.
                let _ = sender.try_send(all.try_for_each(&mut show));
            })?;
        Ok(ScreenHandle { queue, result })
    }

    /// Queues items, waiting while the queue is full. Not cancel-safe.
    ///
    /// After the end of the screen this does nothing; [`ScreenHandle::ended`] returns the cause.
    pub(crate) async fn show(&self, items: Vec<OutputItem>) {
        if !items.is_empty() {
            let _ = self.queue.send(items).await;
        }
    }

    /// Queues a sentence of the client, like [`ScreenHandle::show`].
    pub(crate) async fn notify(&self, sentence: impl Into<String>) {
        self.show(vec![OutputItem::Notice(sentence.into())]).await;
    }

    /// Queues a status unless the queue is full; returns whether it was queued.
    pub(crate) fn set_status(&self, status: String) -> bool {
        let items = vec![OutputItem::Status(status)];
        self.queue.try_send(items).is_ok()
    }

    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Waits for the end of the screen. Cancel-safe; to be awaited once.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        let result = self.result.recv().await;
        result.unwrap_or_else(|_| Err(io::Error::other("the screen thread is gone")))
    }
}

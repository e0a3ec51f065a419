//! The screen of a client: a thread that prints or draws items.
//!
//! The output may block, which must delay neither typed lines nor signals.

use crate::chat::SERVER_SOURCE;
use crate::cli::style::{Style, chat_line};
use crate::client::limits::SCREEN_QUEUE;
use crate::client::output::item::{MessageKind, OutputItem};
use async_channel::{Receiver, Sender};
use std::io::{self, Write, stderr, stdout};
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

/// Prints lines on standard output, and sentences of the client on standard error.
pub(crate) fn print_items(items: Vec<OutputItem>, style: Style) -> io::Result<()> {
    let mut lines = String::new();
    for item in items {
        if let OutputItem::Notice(sentence) = item {
            print_lines(&mut lines)?;
            // A closed standard error leaves no place to report its failure.
            let _ = writeln!(stderr(), "{sentence}");
        } else {
            add_line(item, style, &mut lines);
        }
    }
    print_lines(&mut lines)
}

fn print_lines(lines: &mut String) -> io::Result<()> {
    let mut output = stdout().lock();
    output.write_all(lines.as_bytes())?;
    lines.clear();
    output.flush()
}

/// Returns the line of a border around messages.
pub(crate) fn border(text: &str) -> String {
    format!("── {text} ──")
}

pub(super) fn add_line(item: OutputItem, style: Style, lines: &mut String) {
    let (source, text) = match item {
        OutputItem::Message(message) => match message.kind {
            MessageKind::Public => (message.source, message.text),
            MessageKind::Action => (message.source, format!("* {}", message.text)),
            MessageKind::PrivateFrom | MessageKind::PrivateTo(_) => {
                (format!("{} (private)", message.source), message.text)
            }
        },
        OutputItem::Presence(change, _) => (SERVER_SOURCE.to_owned(), change.sentence()),
        OutputItem::Server(sentence) => (SERVER_SOURCE.to_owned(), sentence),
        OutputItem::ReplyBorder(text) => (SERVER_SOURCE.to_owned(), border(&text)),
        OutputItem::Line(line) => {
            lines.push_str(&line);
            lines.push('\n');
            return;
        }
        // The rest is for terminals.
        _ => return,
    };
    chat_line(lines, &source, &text, style);
}

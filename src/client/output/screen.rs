//! Screens, and the queue to the thread that runs one.
//!
//! A screen has a thread of its own because its output may block, which must delay neither typed
//! lines nor signals.

use crate::client::limits::SCREEN_QUEUE;
use crate::client::output::item::ViewItem;
use async_channel::{Receiver, Sender};
use std::io::{self, Write, stderr, stdout};
use std::thread;

#[derive(Debug)]
pub(crate) enum ScreenCommand {
    /// Print chat lines, each with its newline.
    Print(String),
    /// Show a sentence of the client.
    Notify(String),
    /// Draw items; only a terminal view gets any.
    Draw(Vec<ViewItem>),
    /// Show the status of the connection, if the screen has a place for it.
    SetStatus(String),
}

/// Output of the client. One thread calls it, and each call may block.
pub(crate) trait Screen: Send {
    /// # Errors
    /// The output is closed or cannot be written.
    fn execute(&mut self, command: ScreenCommand) -> io::Result<()>;

    fn finish(&mut self) {}
}

/// Chat lines on standard output, sentences of the client on standard error.
#[derive(Debug, Default)]
pub(crate) struct PlainScreen;

impl Screen for PlainScreen {
    fn execute(&mut self, command: ScreenCommand) -> io::Result<()> {
        match command {
            ScreenCommand::Print(lines) => {
                let mut output = stdout().lock();
                output.write_all(lines.as_bytes())?;
                output.flush()
            }
            ScreenCommand::Notify(sentence) => {
                // A closed standard error leaves no place to report its failure.
                let _ = writeln!(stderr(), "{sentence}");
                Ok(())
            }
            ScreenCommand::Draw(_) | ScreenCommand::SetStatus(_) => Ok(()),
        }
    }
}

/// Bounded queue to a screen in its thread.
#[derive(Debug)]
pub(crate) struct ScreenHandle {
    queue: Sender<ScreenCommand>,
    result: Receiver<io::Result<()>>,
}

impl ScreenHandle {
    /// Starts the thread of a screen.
    pub(crate) fn start(mut screen: Box<dyn Screen>) -> io::Result<Self> {
        let (queue, commands) = async_channel::bounded(SCREEN_QUEUE);
        let (sender, result) = async_channel::bounded(1);
        thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                let result = run_commands(&commands, &mut *screen);
                screen.finish();
                // Fails if the client does not wait for the result any more.
                let _ = sender.try_send(result);
            })?;
        Ok(ScreenHandle { queue, result })
    }

    /// Queues lines, waiting while the queue is full. Not cancel-safe.
    ///
    /// After the end of the screen this does nothing; [`ScreenHandle::ended`] returns the cause.
    pub(crate) async fn print(&self, lines: String) {
        let _ = self.queue.send(ScreenCommand::Print(lines)).await;
    }

    /// Queues a sentence of the client, like [`ScreenHandle::print`].
    pub(crate) async fn notify(&self, sentence: impl Into<String>) {
        let command = ScreenCommand::Notify(sentence.into());
        let _ = self.queue.send(command).await;
    }

    /// Queues items, like [`ScreenHandle::print`].
    pub(crate) async fn draw(&self, items: Vec<ViewItem>) {
        let _ = self.queue.send(ScreenCommand::Draw(items)).await;
    }

    /// Queues a status unless the queue is full; returns whether it was queued.
    pub(crate) fn set_status(&self, status: String) -> bool {
        self.queue
            .try_send(ScreenCommand::SetStatus(status))
            .is_ok()
    }

    /// Closes the queue; the screen ends after the queued commands.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Waits for the end of the screen. Cancel-safe; to be awaited once.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        let result = self.result.recv().await;
        result.unwrap_or_else(|_| Err(io::Error::other("the screen thread is gone")))
    }
}

fn run_commands(commands: &Receiver<ScreenCommand>, screen: &mut dyn Screen) -> io::Result<()> {
    while let Ok(command) = commands.recv_blocking() {
        screen.execute(command)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// Forwards its output; fails when the receiver is gone.
    struct ForwardingScreen(mpsc::Sender<String>);

    impl Screen for ForwardingScreen {
        fn execute(&mut self, command: ScreenCommand) -> io::Result<()> {
            let sent = self.0.send(format!("{command:?}"));
            sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
        }
    }

    #[test]
    fn queued_commands_run_in_order_before_the_end() {
        let (sender, output) = mpsc::channel();
        let screen = ScreenHandle::start(Box::new(ForwardingScreen(sender))).unwrap();
        smol::block_on(async {
            for number in 0..100 {
                screen.print(number.to_string()).await;
            }
            screen.notify("why").await;
            screen.close();
            screen.ended().await.unwrap();
        });
        let mut expected: Vec<String> = (0..100).map(|n| format!("Print(\"{n}\")")).collect();
        expected.push("Notify(\"why\")".to_owned());
        assert!(output.iter().eq(expected));
    }

    #[test]
    fn failed_screen_reports_its_error_and_blocks_nobody() {
        let (sender, output) = mpsc::channel();
        drop(output);
        let screen = ScreenHandle::start(Box::new(ForwardingScreen(sender))).unwrap();
        smol::block_on(async {
            screen.print("x\n".to_owned()).await;
            let error = screen.ended().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            for _ in 0..SCREEN_QUEUE * 2 {
                screen.print("x\n".to_owned()).await;
            }
        });
    }
}

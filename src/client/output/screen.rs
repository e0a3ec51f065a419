//! Where the client shows things.
//!
//! What lives here: [`Screen`], the seam at which a line editor can take the place of plain
//! output, [`PlainScreen`], and [`ScreenHandle`], the way to a screen at work. A screen works
//! in a thread of its own: an output that nobody reads must hold up neither what is typed nor
//! a signal. The client's loop writes to it. It must never hold anything back: what is shown
//! is shown at once.

use crate::client::limits::SCREEN_QUEUE;
use crate::client::terminal::view::ViewItem;
use async_channel::{Receiver, Sender};
use std::io::{self, Write, stderr, stdout};
use std::thread;

/// Somewhere to show lines; used by one thread, in which it may block.
pub trait Screen: Send {
    /// Shows lines of the chat; each ends with a newline.
    ///
    /// # Errors
    /// Nobody reads them any more, or they cannot be written.
    fn show(&mut self, lines: &str) -> io::Result<()>;

    /// Tells the user something about what was typed.
    fn tell(&mut self, text: &str);

    /// Draws items; only a terminal is given any.
    fn draw(&mut self, _items: Vec<ViewItem>) {}

    /// Shows the state of the link; only a terminal has a place for it.
    fn set_status(&mut self, _status: &str) {}

    /// Nothing more will be shown.
    fn finish(&mut self) {}
}

/// Lines on standard output, words to the user on standard error.
#[derive(Debug, Default)]
pub struct PlainScreen;

impl Screen for PlainScreen {
    fn show(&mut self, lines: &str) -> io::Result<()> {
        let mut output = stdout().lock();
        output.write_all(lines.as_bytes())?;
        output.flush()
    }

    fn tell(&mut self, text: &str) {
        // Where standard error is closed there is nobody to tell.
        let _ = writeln!(stderr(), "{text}");
    }
}

enum Piece {
    Lines(String),
    Words(String),
    Items(Vec<ViewItem>),
    Status(String),
}

/// A bounded queue to a screen in its thread.
#[derive(Debug)]
pub struct ScreenHandle {
    queue: Sender<Piece>,
    ended: Receiver<io::Result<()>>,
}

impl ScreenHandle {
    /// Starts the thread of this screen.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn start(mut screen: Box<dyn Screen>) -> io::Result<Self> {
        let (queue, pieces) = async_channel::bounded(SCREEN_QUEUE);
        let (end, ended) = async_channel::bounded(1);
        thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || {
                let result = show_all(&pieces, &mut *screen);
                screen.finish();
                // It fails if nobody waits for the end any more.
                let _ = end.try_send(result);
            })?;
        Ok(ScreenHandle { queue, ended })
    }

    /// Gives lines to the screen; waits while it has enough of them. Not cancel-safe.
    ///
    /// Where the screen is gone this does nothing: [`ScreenHandle::ended`] tells.
    pub async fn show(&self, lines: String) {
        let _ = self.queue.send(Piece::Lines(lines)).await;
    }

    /// Gives words to the user, as [`ScreenHandle::show`].
    pub async fn tell(&self, text: String) {
        let _ = self.queue.send(Piece::Words(text)).await;
    }

    /// Gives items to the screen, as [`ScreenHandle::show`].
    pub async fn draw(&self, items: Vec<ViewItem>) {
        let _ = self.queue.send(Piece::Items(items)).await;
    }

    /// Shows the state of the link, unless the screen has enough to do; gives whether it does.
    pub fn set_status(&self, status: String) -> bool {
        self.queue.try_send(Piece::Status(status)).is_ok()
    }

    /// Takes nothing more; the screen ends when it has shown what it was given.
    pub fn close(&self) {
        self.queue.close();
    }

    /// Waits for the end of the screen, closed or failed. Cancel-safe; to be awaited once.
    ///
    /// # Errors
    /// Nobody reads the lines any more, or they cannot be written.
    pub async fn ended(&self) -> io::Result<()> {
        let gone = || io::Error::other("the screen's thread is gone");
        self.ended.recv().await.unwrap_or_else(|_| Err(gone()))
    }
}

fn show_all(pieces: &Receiver<Piece>, screen: &mut dyn Screen) -> io::Result<()> {
    while let Ok(piece) = pieces.recv_blocking() {
        match piece {
            Piece::Lines(lines) => screen.show(&lines)?,
            Piece::Words(text) => screen.tell(&text),
            Piece::Items(items) => screen.draw(items),
            Piece::Status(status) => screen.set_status(&status),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A screen that passes on what it gets, and is gone when nobody takes it.
    struct Passing(mpsc::Sender<String>);

    impl Screen for Passing {
        fn show(&mut self, lines: &str) -> io::Result<()> {
            let passed = self.0.send(lines.to_owned());
            passed.map_err(|_| io::ErrorKind::BrokenPipe.into())
        }

        fn tell(&mut self, text: &str) {
            self.0.send(format!("told: {text}\n")).unwrap();
        }
    }

    #[test]
    fn everything_is_shown_in_its_order_before_the_end() {
        let (sender, shown) = mpsc::channel();
        let screen = ScreenHandle::start(Box::new(Passing(sender))).unwrap();
        smol::block_on(async {
            for number in 0..100 {
                screen.show(format!("{number}\n")).await;
            }
            screen.tell("why".to_owned()).await;
            screen.close();
            screen.ended().await.unwrap();
        });
        let numbers: String = (0..100).map(|number| format!("{number}\n")).collect();
        assert_eq!(shown.iter().collect::<String>(), numbers + "told: why\n");
    }

    #[test]
    fn a_screen_that_is_gone_says_so_and_holds_up_nobody() {
        let (sender, shown) = mpsc::channel();
        drop(shown);
        let screen = ScreenHandle::start(Box::new(Passing(sender))).unwrap();
        smol::block_on(async {
            screen.show("x\n".to_owned()).await;
            let error = screen.ended().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            for _ in 0..SCREEN_QUEUE * 2 {
                screen.show("x\n".to_owned()).await;
            }
        });
    }
}

//! Where the client shows things.
//!
//! What lives here: [`Screen`], the seam at which a line editor can take the place of plain
//! output, and [`PlainScreen`]. The client's loop writes to it. It must never hold anything
//! back: what is shown is shown at once.

use std::io::{self, Write, stderr, stdout};

/// Somewhere to show lines.
pub trait Screen {
    /// Shows lines of the chat; each ends with a newline.
    ///
    /// # Errors
    /// Nobody reads them any more, or they cannot be written.
    fn show(&mut self, lines: &str) -> io::Result<()>;

    /// Tells the user something about what was typed.
    fn tell(&mut self, text: &str);
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

//! The session: what a server's bytes show.
//!
//! What lives here: [`Session`], a plain state machine that turns bytes into lines for a
//! screen, at any chunking. The client's loop uses it. It must never end because of what a
//! server sends: what it does not understand it passes over.

use crate::framing::{Line, LineSplitter};
use crate::limits::CLIENT_MAX_LINE_BYTES;
use crate::protocol::basic::decode_server_line;
use crate::render::{Style, chat_line};

/// What was received and not yet shown.
#[derive(Debug)]
pub struct Session {
    splitter: LineSplitter,
    style: Style,
    lines: u64,
    understood: u64,
}

impl Session {
    /// A session that shows lines in this style.
    pub fn new(style: Style) -> Self {
        Session {
            splitter: LineSplitter::new(CLIENT_MAX_LINE_BYTES),
            style,
            lines: 0,
            understood: 0,
        }
    }

    /// Whether lines came and none of them was understood: something else than a chat speaks.
    pub fn is_strange(&self) -> bool {
        self.lines > 0 && self.understood == 0
    }

    /// Takes bytes of the server and gives the lines to be shown, each with its newline.
    pub fn receive(&mut self, mut bytes: &[u8]) -> String {
        let mut shown = String::new();
        while let Some(line) = self.splitter.next_line(&mut bytes) {
            self.lines += 1;
            if let Line::Complete(line) = line
                && let Some(message) = decode_server_line(line)
            {
                self.understood += 1;
                chat_line(&mut shown, &message.source, &message.message, self.style);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALOGUE: &str = concat!(
        r#"{"type":"message","data":{"source":"[Server]","message":"é has entered the chat"}}"#,
        "\r\n\nnonsense\n{\"type\":\"pong\",\"data\":1}\n[[[[\n\u{0}\n",
        r#"{"data":{"message":"x\ny\u001b[2J","source":"a\rb"},"type":"message"} "#,
        "\n",
        r#"{"type":"message","data":{"source":"cut","message":"off"}}"#,
    );

    #[test]
    fn any_chunking_shows_the_same() {
        for size in [1, 2, 3, 7, 256, 512, DIALOGUE.len()] {
            let mut session = Session::new(Style::Plain);
            let chunks = DIALOGUE.as_bytes().chunks(size);
            let shown: String = chunks.map(|chunk| session.receive(chunk)).collect();
            let expected = "[Server]: é has entered the chat\na\u{fffd}b: x ↵ y\u{fffd}[2J\n";
            assert_eq!(shown, expected, "chunks of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_passed_over_in_bounded_memory() {
        let mut session = Session::new(Style::Plain);
        let chunk = vec![b'x'; 1 << 16];
        for _ in 0..64 {
            assert_eq!(session.receive(&chunk), "");
            assert!(session.splitter.stored_bytes() <= CLIENT_MAX_LINE_BYTES + 1);
        }
        session.receive(b"\n");
        let line = br#"{"type":"message","data":{"source":"a","message":"b"}}"#;
        assert_eq!(session.receive(line), "");
        assert_eq!(session.receive(b"\n"), "a: b\n");
    }
}

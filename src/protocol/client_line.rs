//! Lines that a client sends in the extended dialect. Each function appends one whole line.

use crate::chat::request::{EventCursor, Nonce, VERSION};
use crate::protocol::json::{number, number_field, raw, string, text_field};

/// How a client introduces itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Introduction<'a> {
    pub(crate) client: &'a str,
    /// Session token of an earlier connection.
    pub(crate) token: Option<&'a str>,
    /// Newest event that the client has.
    pub(crate) after: Option<&'a EventCursor>,
}

pub(crate) fn encode_hello(line: &mut Vec<u8>, introduction: Introduction<'_>) {
    raw(line, r#"{"type":"hello","data":{"version":"#);
    number(line, VERSION);
    text_field(line, "client", introduction.client);
    if let Some(token) = introduction.token {
        text_field(line, "token", token);
    }
    if let Some(after) = introduction.after {
        raw(line, r#","after":{"epoch":"#);
        string(line, &after.epoch);
        number_field(line, "id", after.id);
        raw(line, "}");
    }
    raw(line, "}}\n");
}

pub(crate) fn encode_message(line: &mut Vec<u8>, text: &str, action: bool, nonce: &Nonce) {
    raw(line, r#"{"type":"message","data":{"message":"#);
    string(line, text);
    if action {
        raw(line, r#","action":true"#);
    }
    text_field(line, "nonce", nonce.as_str());
    raw(line, "}}\n");
}

pub(crate) fn encode_private(line: &mut Vec<u8>, target: &str, text: &str, nonce: &Nonce) {
    raw(line, r#"{"type":"private","data":{"target":"#);
    string(line, target);
    text_field(line, "message", text);
    text_field(line, "nonce", nonce.as_str());
    raw(line, "}}\n");
}

/// Appends a request for the newest `limit` messages, or the newest ones before an event.
pub(crate) fn encode_history(line: &mut Vec<u8>, before: Option<u64>, limit: usize) {
    raw(line, r#"{"type":"history","data":{"#);
    if let Some(before) = before {
        raw(line, r#""before":"#);
        number(line, before);
        raw(line, ",");
    }
    raw(line, r#""limit":"#);
    number(line, limit as u64);
    raw(line, "}}\n");
}

pub(crate) fn encode_search(line: &mut Vec<u8>, query: &str) {
    raw(line, r#"{"type":"search","data":{"query":"#);
    string(line, query);
    raw(line, "}}\n");
}

pub(crate) fn encode_ping(line: &mut Vec<u8>, value: u64) {
    raw(line, r#"{"type":"ping","data":"#);
    number(line, value);
    raw(line, "}\n");
}

pub(crate) fn encode_quit(line: &mut Vec<u8>) {
    raw(line, "{\"type\":\"quit\",\"data\":\"\"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::request::{HistoryPage, Request, SendMessage, SendPrivate};
    use crate::protocol::Dialect;
    use crate::protocol::decode::request;

    fn decoded(encode: impl FnOnce(&mut Vec<u8>)) -> Request {
        let mut line = Vec::new();
        encode(&mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        request(&line, Dialect::Extended, 100).unwrap()
    }

    #[test]
    fn server_decodes_what_the_client_encodes() {
        let nonce = Nonce::new("n-1").unwrap();
        assert_eq!(
            decoded(|line| encode_message(line, "a\n\"é", true, &nonce)),
            Request::SendMessage(SendMessage {
                text: "a\n\"é".into(),
                action: true,
                nonce: Some(nonce.clone()),
            })
        );
        assert_eq!(
            decoded(|line| encode_private(line, "bob", "x", &nonce)),
            Request::Private(SendPrivate {
                target: "bob".into(),
                text: "x".into(),
                nonce: Some(nonce),
            })
        );
        for before in [None, Some(9)] {
            let page = HistoryPage { before, limit: 3 };
            let request = decoded(|line| encode_history(line, before, 3));
            assert_eq!(request, Request::Page(page));
        }
        let search = decoded(|line| encode_search(line, "from:bob x"));
        assert!(matches!(search, Request::Search(_)));
        assert_eq!(
            decoded(|line| encode_ping(line, 7)),
            Request::Ping("7".into())
        );
        assert_eq!(decoded(encode_quit), Request::Quit);
        let after = EventCursor {
            epoch: "e".into(),
            id: 7,
        };
        let introduction = Introduction {
            client: "c/1",
            token: Some("0123456789abcdef0123456789abcdef"),
            after: Some(&after),
        };
        let Request::Hello(hello) = decoded(|line| encode_hello(line, introduction)) else {
            panic!("not a hello");
        };
        assert_eq!(
            (&*hello.client, hello.after.as_ref()),
            ("c/1", Some(&after))
        );
        assert!(hello.token.is_some());
    }
}

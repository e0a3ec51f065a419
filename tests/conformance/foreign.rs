//! Input of other protocols on the chat port: nothing of it is obeyed.

use crate::bench::{SERVER, Trial, request, unique};
use crate::client::Client;

/// Sends bytes, each `chunk` of them in a write of its own, and expects one answer and the end.
/// Returns the lines of the answer.
fn answer_of(trial: &Trial, witness: &mut Client, bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut culprit = trial.connect_raw("culprit");
    for part in bytes.chunks(chunk) {
        // The server may have closed already.
        if culprit.try_send(part).is_err() {
            break;
        }
    }
    let mut lines = Vec::new();
    while let Some(line) = culprit.line.next_line() {
        lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
    }
    // The arrival, where it was announced, and joins of others come before the answer.
    let is_event = |line: &String| line.contains(" the chat\"") || line.contains(" renamed to ");
    lines.retain(|line| !is_event(line));
    let end = format!("the end {}", unique());
    witness.say(&end);
    for line in witness.everything_to(&witness.name.clone(), &end) {
        let is_own = line.source == witness.name || line.source == SERVER;
        assert!(
            is_own,
            "{line:?} after {:?}",
            String::from_utf8_lossy(bytes)
        );
    }
    lines
}

fn is_bad_request(lines: &[String]) -> bool {
    lines
        .first()
        .is_some_and(|line| line.starts_with("HTTP/1.1 400 "))
        && lines.iter().any(String::is_empty)
}

#[test]
fn http_request_speaks_for_nobody() {
    let trial = Trial::new();
    let mut witness = trial.join("witness");
    let spam = [request("set-name", "spammer"), request("message", "spam")].concat();
    for start in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nOrigin: http://evil.example\r\n\r\n",
        "HEAD / HTTP/1.0\r\n\r\n",
        "PUT /a HTTP/1.1\r\n\r\n",
        "DELETE /a HTTP/1.1\r\n\r\n",
        "PATCH /a HTTP/1.1\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\n\r\n",
        "TRACE / HTTP/1.1\r\n\r\n",
        "CONNECT x:1 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST \n",
        "\r\n\nPOST / HTTP/1.1\r\n\r\n",
        // Lines that are no requests do not make the sender a chat client.
        "x\n\nPOST / HTTP/1.1\r\n\r\n",
    ] {
        let lines = answer_of(
            &trial,
            &mut witness,
            &[start.as_bytes(), &spam].concat(),
            usize::MAX,
        );
        let lines = match start.starts_with('x') {
            true => &lines[1..],
            false => &lines,
        };
        assert!(is_bad_request(lines), "{start:?}: {lines:#?}");
    }
}

#[test]
fn http_request_is_known_by_its_first_bytes() {
    let trial = Trial::unpaced();
    let mut witness = trial.join("witness");
    let spam = request("message", "spam");
    let long = format!("POST /{} HTTP/1.1\r\n\r\n", "a".repeat(70_000));
    for (start, chunk) in [
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        ("GET ", 1),
        (&*long, 70_000),
        (&*long, 3),
    ] {
        let lines = answer_of(
            &trial,
            &mut witness,
            &[start.as_bytes(), &spam].concat(),
            chunk,
        );
        assert!(is_bad_request(&lines), "{lines:#?}");
    }
}

#[test]
fn tls_handshake_gets_one_sentence() {
    let trial = Trial::new();
    let mut witness = trial.join("witness");
    let spam = request("message", "spam");
    for chunk in [1, usize::MAX] {
        let lines = answer_of(
            &trial,
            &mut witness,
            &[b"\x16\x03\x01\x02\x00\x01", &*spam].concat(),
            chunk,
        );
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("\"source\":\"[Server]\""), "{lines:#?}");
    }
}

#[test]
fn chat_client_may_mention_http() {
    let trial = Trial::new();
    let mut pair = trial.pair();
    pair.said("GET / HTTP/1.1");
    // After a valid line, such a line is one that is refused.
    pair.refused(b"GET / HTTP/1.1");
    pair.refused(b"\x16\x03\x01");
}

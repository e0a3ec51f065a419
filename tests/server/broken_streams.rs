//! Connections that send or take one byte at a time, stand still, or break at every byte.

use crate::support::line_client::SERVER;
use crate::support::{Chat, LineClient, Program, RealServer, Said, Site, decode, request};
use smolchat::server::limits::Limits;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;

/// Returns all that the client sends.
fn script() -> Vec<u8> {
    [
        request("message", "hello"),
        request("set-name", "walker"),
        request("users", ""),
        b"{\"type\":\"nonsense\"}\n".to_vec(),
        request("message", QUOTED),
        request("history", ""),
        b"\r\n\n{\"data\":\"last\",\"type\":\"message\"}\r\n".to_vec(),
    ]
    .concat()
}

const QUOTED: &str = "č 🦀 \"quoted\"";
const NONSENSE: &str = "The type \"nonsense\" is unknown; the types are \"message\", \"set-name\", \"history\", \"users\", \"private\", \"ping\", \"quit\" and, in the extended dialect, \"search\"";
const UNFINISHED: &str =
    "The last line was not ended and was skipped; end each line with a newline";

/// Returns the lines that a client gets for the first `sent` bytes of the script, and whether each
/// is public. Only the observer is connected as well.
fn answers(script: &[u8], sent: usize, address: &str, has_ended: bool) -> Vec<(Said, bool)> {
    let line = |source: &str, text: &str| (source.to_owned(), text.to_owned());
    let public = |source, text: &str| (line(source, text), true);
    let private = |source, text| (line(source, text), false);
    let mut told = vec![public(SERVER, &format!("{address} has entered the chat"))];
    let lines = script[..sent].split_inclusive(|&byte| byte == b'\n');
    for (number, line) in lines.enumerate() {
        let is_whole = line.ends_with(b"\n");
        match number {
            _ if !is_whole && (!has_ended || line == b"\r") => {}
            _ if !is_whole => told.push(private(SERVER, UNFINISHED)),
            0 => told.push(public(address, "hello")),
            1 => told.push(public(SERVER, &format!("{address} renamed to walker"))),
            2 => told.push(private(SERVER, "Connected users (2): observer, walker")),
            3 => told.push(private(SERVER, NONSENSE)),
            4 => told.push(public("walker", QUOTED)),
            5 => told.extend([private(address, "hello"), private("walker", QUOTED)]),
            8 => told.push(public("walker", "last")),
            _ => {}
        }
    }
    told
}

fn chat() -> Chat {
    Chat::with(Limits {
        history_messages: 2,
        ..Limits::default()
    })
}

fn public(told: &[(Said, bool)]) -> Vec<Said> {
    let public = told.iter().filter(|(_, is_public)| *is_public);
    public.map(|(line, _)| line.clone()).collect()
}

fn all(told: &[(Said, bool)]) -> Vec<Said> {
    told.iter().map(|(line, _)| line.clone()).collect()
}

/// Returns the lines that the observer gets up to the departure of this client, which leaves under
/// its last name.
fn watch(observer: &mut LineClient, address: &str) -> Vec<Said> {
    let mut seen: Vec<Said> = Vec::new();
    let mut name = address.to_owned();
    loop {
        let said = observer.must_get();
        if said == (SERVER.to_owned(), format!("{name} has left the chat")) {
            return seen;
        }
        if said.1 == format!("{address} renamed to walker") {
            name = "walker".to_owned();
        }
        seen.push(said);
    }
}

/// Sends these bytes at once, or one at a time for an even number.
fn send_cut(client: &mut LineClient, bytes: &[u8]) {
    let size = if bytes.len().is_multiple_of(2) {
        1
    } else {
        bytes.len()
    };
    for piece in bytes.chunks(size) {
        client.send_raw(piece);
    }
}

#[test]
fn reset_after_every_byte_sent_leaves_cleanly() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    for sent in 0..=script.len() {
        let mut client = chat.connect_raw("client");
        let address = client.address();
        send_cut(&mut client, &script[..sent]);
        client.reset();
        let seen = watch(&mut observer, &address);
        let most = public(&answers(&script, sent, &address, false));
        assert!(most.starts_with(&seen), "{sent} bytes: {seen:?}");
        observer.say_and_hear("still here");
    }
}

#[test]
fn reset_after_every_byte_received_leaves_cleanly() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    let mut received = 0;
    loop {
        let mut client = chat.connect_raw("client");
        let address = client.address();
        let told = answers(&script, script.len(), &address, false);
        client.send_raw(&script);
        let bytes = client
            .stream
            .exactly(received)
            .expect("the server sends all bytes of the replies");
        let lines = bytes.split_inclusive(|&byte| byte == b'\n');
        let whole: Vec<Said> = lines.filter_map(decode).collect();
        assert!(all(&told).starts_with(&whole), "{whole:?}");
        client.reset();
        let seen = watch(&mut observer, &address);
        let everything = public(&told);
        assert!(everything.starts_with(&seen), "{received}: {seen:?}");
        // The observer got every public line that the client got.
        let got = whole.len();
        assert!(seen.len() >= public(&told[..got]).len(), "{received} bytes");
        observer.say_and_hear("still here");
        if got == told.len() {
            break;
        }
        received += 1;
    }
    assert!(received > script.len());
}

#[test]
fn half_close_after_every_byte_gets_every_answer() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    for sent in 0..=script.len() {
        let mut client = chat.connect_raw("client");
        let address = client.address();
        send_cut(&mut client, &script[..sent]);
        client.finish_sending();
        let told = answers(&script, sent, &address, true);
        assert_eq!(client.read_to_end(), all(&told), "{sent} bytes");
        let seen = watch(&mut observer, &address);
        assert_eq!(seen, public(&told), "{sent} bytes");
    }
}

/// A local address that no other test uses, where loopback has several. No other client takes a
/// port that became free there.
const HERE_ALONE: Ipv4Addr = match cfg!(target_os = "linux") {
    true => Ipv4Addr::new(127, 77, 0, 1),
    false => Ipv4Addr::LOCALHOST,
};

#[test]
fn stale_connection_from_a_reused_address_is_closed_first() {
    // The server does not read from a client over its rate limit, and so misses its reset.
    let chat = Chat::with(Limits {
        burst_lines: 1,
        rate_per_second: 1,
        ..Limits::default()
    });
    let mut observer = chat.connect("observer");
    let mut first = chat.connect_from((HERE_ALONE, 0).into(), "first");
    let address = first.socket_address();
    first.say("one");
    first.say("two");
    observer.expect_notice(&format!("{address} has entered the chat"));
    observer.expect(&address.to_string(), "one");
    first.reset();
    // After a reset the port is free at once.
    let mut second = chat.connect_from(address, "second");
    second.expect_own_arrival();
    second.request("users", "");
    let (_, list) = second.skip_until("a list", |said| said.1.starts_with("Connected users"));
    let expected = format!("Connected users (2): {}, {address}", observer.name);
    assert_eq!(list.1, expected);
}

/// Starts a proxy for one client that passes on one byte at a time.
fn byte_by_byte_to(site: &Site) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let (accepting, server) = (listener.try_clone().expect("a second handle"), site.address);
    thread::spawn(move || {
        let (client, _) = accepting.accept().expect("the client comes");
        let server = TcpStream::connect(server).expect("the server is there");
        // The connection ends at the latest when the server does.
        thread::scope(|scope| {
            scope.spawn(|| pass_on(&client, &server));
            pass_on(&server, &client);
        });
    });
    listener
}

/// Passes on bytes and the end of the stream, until the other side is gone.
fn pass_on(mut from: &TcpStream, mut to: &TcpStream) {
    to.set_nodelay(true).expect("no delay");
    let mut byte = [0];
    while let Ok(1) = from.read(&mut byte) {
        if to.write_all(&byte).is_err() {
            break;
        }
    }
    // The other side may be gone already.
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn single_bytes_in_both_directions_give_the_same_conversation() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let proxy = byte_by_byte_to(&chat);
    let stream = TcpStream::connect(proxy.local_addr().expect("an address"));
    let mut client = LineClient::new(stream.expect("it connects"), "client", &chat.transcript);
    let (source, text) = observer.must_get();
    assert_eq!(source, SERVER);
    let address = text.strip_suffix(" has entered the chat").expect("it came");
    client.send_raw(&script());
    client.finish_sending();
    let told = answers(&script(), script().len(), address, true);
    assert_eq!(client.read_to_end(), all(&told));
    assert_eq!(watch(&mut observer, address), public(&told[1..]));
}

#[test]
fn client_program_works_with_single_bytes() {
    let server = RealServer::start(&["--no-web"]);
    let [mut observer] = server.room(["observer"]);
    let proxy = byte_by_byte_to(&server);
    let port = proxy.local_addr().expect("an address").port();
    let mut client = Program::client(port, &[]);
    client.type_bytes("/setname walker\nč 🦀\n/users\n".as_bytes());
    client.end_input();
    assert_eq!(client.wait(), Some(0));
    let text = client.stdout.text();
    let (_, after) = text.split_once(" renamed to walker\n").expect("a rename");
    assert_eq!(
        after,
        "walker: č 🦀\n[Server]: Connected users (2): observer, walker\n"
    );
    observer.skip_to("walker", "č 🦀");
    observer.expect_notice("walker has left the chat");
}

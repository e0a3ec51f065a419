//! Connections that send or take one byte at a time, stand still, or break at every byte.

use crate::support::deadline::TimedStream;
use crate::support::{Chat, LineClient, Program, RealServer, Said, Site, decode, request};
use smolchat::server::limits::Limits;
use socket2::SockRef;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What one client says in its life.
fn script() -> Vec<u8> {
    [
        request("message", "hello"),
        request("set-name", "walker"),
        request("users", ""),
        b"{\"type\":\"nonsense\"}\n".to_vec(),
        request("message", "č 🦀 \"quoted\""),
        request("history", ""),
        b"\r\n\n{\"data\":\"last\",\"type\":\"message\"}\r\n".to_vec(),
    ]
    .concat()
}

/// What comes back to it, line by line, and whether everyone gets it.
#[derive(Clone, Debug)]
struct Told {
    line: Said,
    is_public: bool,
}

/// What the first `sent` bytes of the script are answered with, the arrival first; the observer
/// is the only other one who is here.
fn answers(script: &[u8], sent: usize, address: &str, has_ended: bool) -> Vec<Told> {
    let public = |source: &str, text: &str| Told {
        line: (source.to_owned(), text.to_owned()),
        is_public: true,
    };
    let private = |source: &str, text: &str| Told {
        is_public: false,
        ..public(source, text)
    };
    let mut told = vec![public(
        "[Server]",
        &format!("{address} has entered the chat"),
    )];
    let (quoted, nonsense) = (
        "č 🦀 \"quoted\"",
        "The type \"nonsense\" is unknown; the types are \"message\", \"set-name\", \"history\", \"users\", \"private\", \"ping\", \"quit\" and, in the extended dialect, \"search\"",
    );
    let lines = script[..sent].split_inclusive(|&byte| byte == b'\n');
    for (number, line) in lines.enumerate() {
        let is_whole = line.ends_with(b"\n");
        match number {
            _ if !is_whole && (!has_ended || line == b"\r") => {}
            _ if !is_whole => told.push(private(
                "[Server]",
                "The last line was not ended and was skipped; end each line with a newline",
            )),
            0 => told.push(public(address, "hello")),
            1 => told.push(public("[Server]", &format!("{address} renamed to walker"))),
            2 => told.push(private("[Server]", "Connected users (2): observer, walker")),
            3 => told.push(private("[Server]", nonsense)),
            4 => told.push(public("walker", quoted)),
            5 => told.extend([private(address, "hello"), private("walker", quoted)]),
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

/// The public ones of these lines.
fn public(told: &[Told]) -> Vec<Said> {
    let public = told.iter().filter(|told| told.is_public);
    public.map(|told| told.line.clone()).collect()
}

fn all(told: &[Told]) -> Vec<Said> {
    told.iter().map(|told| told.line.clone()).collect()
}

/// What the observer sees of one who comes and goes: its lines, and that it left under the name
/// that it then had.
fn watch(observer: &mut LineClient, address: &str) -> Vec<Said> {
    let mut seen: Vec<Said> = Vec::new();
    let mut name = address.to_owned();
    loop {
        let said = observer.must_get();
        if said == ("[Server]".to_owned(), format!("{name} has left the chat")) {
            return seen;
        }
        if said.1 == format!("{address} renamed to walker") {
            name = "walker".to_owned();
        }
        seen.push(said);
    }
}

/// Connects a client whose wait is one expectation.
fn connect(site: &Site) -> TimedStream {
    TimedStream::new(TcpStream::connect(site.address).expect("it connects"))
}

fn reset(stream: &TimedStream) {
    SockRef::from(&**stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a linger of zero");
}

fn send_byte_by_byte(stream: &mut TimedStream, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(&[*byte]).expect("it is taken");
    }
}

fn lines_of(bytes: &[u8]) -> Vec<Said> {
    let lines = bytes.split_inclusive(|&byte| byte == b'\n');
    lines
        .map(|line| decode(line).unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(line))))
        .collect()
}

#[test]
fn reset_after_every_byte_sent_leaves_cleanly() {
    let chat = chat();
    let [mut observer] = chat.room(["observer"]);
    let script = script();
    for sent in 0..=script.len() {
        let mut stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        if sent % 2 == 0 {
            send_byte_by_byte(&mut stream, &script[..sent]);
        } else {
            stream.write_all(&script[..sent]).expect("it is taken");
        }
        reset(&stream);
        drop(stream);
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
        let mut stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        let told = answers(&script, script.len(), &address, false);
        stream.write_all(&script).expect("it is taken");
        let mut bytes = vec![0; received];
        stream.read_exact(&mut bytes).expect("so much comes");
        let whole = bytes.iter().rposition(|&byte| byte == b'\n');
        let whole = lines_of(&bytes[..whole.map_or(0, |end| end + 1)]);
        assert!(all(&told).starts_with(&whole), "{whole:?}");
        let is_everything = whole.len() == told.len();
        reset(&stream);
        drop(stream);
        let seen = watch(&mut observer, &address);
        assert!(public(&told).starts_with(&seen), "{received}: {seen:?}");
        // What it got, everyone got.
        let got = whole.len();
        assert!(seen.len() >= public(&told[..got]).len(), "{received} bytes");
        observer.say_and_hear("still here");
        if is_everything {
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
        let mut stream = connect(&chat);
        let address = stream.local_addr().expect("an address").to_string();
        if sent % 2 == 0 {
            send_byte_by_byte(&mut stream, &script[..sent]);
        } else {
            stream.write_all(&script[..sent]).expect("it is taken");
        }
        stream.shutdown(Shutdown::Write).expect("it can be ended");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("the end comes");
        let told = answers(&script, sent, &address, true);
        assert_eq!(lines_of(&bytes), all(&told), "{sent} bytes");
        let seen = watch(&mut observer, &address);
        assert_eq!(seen, public(&told), "{sent} bytes");
    }
}

/// An address of this machine from which no other test connects, where loopback has several: a
/// port of it that was given up is not taken by others at once.
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

/// Stands between one client and the server, and passes on one byte at a time.
fn byte_by_byte_to(site: &Site) -> TcpListener {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let (accepting, server) = (listener.try_clone().expect("a second handle"), site.address);
    thread::spawn(move || {
        let (client, _) = accepting.accept().expect("the client comes");
        let server = TcpStream::connect(server).expect("the server is there");
        let (client_again, server_again) = (
            client.try_clone().expect("a second handle"),
            server.try_clone().expect("a second handle"),
        );
        let up = thread::spawn(move || pass_on(&client_again, &server_again));
        pass_on(&server, &client);
        // It ends with the connection, at the latest when the server does.
        up.join().expect("it does not fail");
    });
    listener
}

/// Passes bytes on up to the end, which it passes on too, or until the other side is gone.
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
    let mut stream = TimedStream::new(stream.expect("it connects"));
    let (source, text) = observer.must_get();
    assert_eq!(source, "[Server]");
    let address = text.strip_suffix(" has entered the chat").expect("it came");
    stream.write_all(&script()).expect("it is taken");
    stream.shutdown(Shutdown::Write).expect("it can be ended");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the end comes");
    let told = answers(&script(), script().len(), address, true);
    assert_eq!(lines_of(&bytes), all(&told));
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

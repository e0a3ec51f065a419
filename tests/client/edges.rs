//! The real client program where something is too much, too slow, broken or closed: floods,
//! endless lines, and outputs that nobody reads.
//!
//! A scripted server is the test itself with a socket.

use crate::support::{
    Captured, PATIENCE, TEST_LIMIT, Trace, Watchdog, eventually, send_signal, skip,
};
use socket2::SockRef;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const CLIENT: &str = env!("CARGO_BIN_EXE_smolchat-client");

// What the tests stand on

/// A line of a server.
fn said(source: &str, message: &str) -> Vec<u8> {
    let data = serde_json::json!({ "source": source, "message": message });
    let line = serde_json::json!({ "type": "message", "data": data });
    format!("{line}\n").into_bytes()
}

/// A line of the client, as it sends them.
fn asked(kind: &str, data: &str) -> String {
    let [kind, data] = [kind, data].map(|text| serde_json::json!(text));
    format!("{{\"type\":{kind},\"data\":{data}}}\n")
}

/// The listening half of a scripted server.
struct Listening(TcpListener);

impl Listening {
    fn start() -> Self {
        Listening(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener"))
    }

    fn port(&self) -> String {
        self.0.local_addr().expect("its address").port().to_string()
    }

    #[track_caller]
    fn accept(&self) -> Scripted {
        self.0.set_nonblocking(true).expect("non-blocking");
        let mut accepted = None;
        eventually(PATIENCE, "the client connects", || match self.0.accept() {
            Ok((stream, _)) => {
                accepted = Some(stream);
                true
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
                false
            }
        });
        let stream = accepted.expect("a connection");
        stream.set_nonblocking(false).expect("blocking");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a deadline");
        Scripted {
            reader: BufReader::new(stream),
        }
    }
}

/// The connected half of a scripted server.
struct Scripted {
    reader: BufReader<TcpStream>,
}

impl Scripted {
    fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    #[track_caller]
    fn send(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).expect("the client takes it");
    }

    #[track_caller]
    fn say(&mut self, source: &str, message: &str) {
        self.send(&said(source, message));
    }

    /// The next line; empty at the end.
    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader
            .read_line(&mut line)
            .expect("a line, or the end");
        line
    }

    #[track_caller]
    fn expect(&mut self, kind: &str, data: &str) {
        assert_eq!(self.line(), asked(kind, data));
    }

    #[track_caller]
    fn expect_end(&mut self) {
        assert_eq!(self.line(), "", "the client sent more");
    }

    /// Closes with a reset instead of an orderly end.
    fn reset(self) {
        SockRef::from(self.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("no linger");
    }
}

/// The client program. Killed and reaped when dropped.
struct Client {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Captured,
    stderr: Captured,
    readers: Vec<JoinHandle<()>>,
    _watchdog: Watchdog,
}

impl Client {
    /// In pipes.
    fn start(port: &str) -> Self {
        Client::from_command(command(&["127.0.0.1", port]))
    }

    fn from_command(mut command: Command) -> Self {
        command.stdout(Stdio::piped());
        let mut client = Client::with_stdout_of(command);
        let stdout = client.child.stdout.take().expect("its output");
        client.stdout = client.read_all(stdout);
        client
    }

    /// With a standard output that is the test's own matter.
    fn with_stdout_of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the client starts");
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let mut client = Client {
            child,
            stdin,
            stdout: Captured::default(),
            stderr: Captured::default(),
            readers: Vec::new(),
            _watchdog: Watchdog::start(Trace::default()),
        };
        client.stderr = client.read_all(stderr.expect("its errors"));
        client
    }

    fn read_all(&mut self, mut source: impl Read + Send + 'static) -> Captured {
        let captured = Captured::default();
        let mut writer = captured.clone();
        self.readers.push(thread::spawn(move || {
            io::copy(&mut source, &mut writer).expect("a readable pipe");
        }));
        captured
    }

    #[track_caller]
    fn type_in(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("an open input");
        stdin.write_all(text.as_ref()).expect("the client reads");
    }

    /// Waits for the end; its status, and all of its output.
    #[track_caller]
    fn wait(&mut self) -> (Option<i32>, String) {
        let mut status = None;
        eventually(PATIENCE, "the client ends", || {
            status = self.child.try_wait().expect("a child can be waited for");
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader ends with its pipe");
        }
        let code = status.and_then(|status| status.code());
        (code, self.stdout.text())
    }

    /// Waits for the end with status 0 and exactly this output.
    #[track_caller]
    fn ends_with(&mut self, stdout: &str) {
        let (code, text) = self.wait();
        assert_eq!(text, stdout, "stderr: {}", self.stderr.text());
        assert_eq!(code, Some(0), "stderr: {}", self.stderr.text());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = crate::support::client_command();
    command.args(arguments).env_remove("NO_COLOR");
    command
}

/// A connected pair.
#[track_caller]
fn connected() -> (Client, Scripted) {
    let listening = Listening::start();
    let client = Client::start(&listening.port());
    (client, listening.accept())
}

#[test]
fn bytes_that_arrive_one_by_one_and_alone_are_a_line() {
    let (mut client, mut server) = connected();
    // Each byte waits until the client has taken the one before: nothing is left unread.
    for byte in said("a", "b ☃") {
        server.send(&[byte]);
        eventually(PATIENCE, "the byte is acknowledged", || {
            unsent_bytes(server.stream()) == 0
        });
    }
    client.stdout.wait_for("a: b ☃\n");
    drop(server);
    client.ends_with("a: b ☃\nServer disconnected\n");
}

/// Bytes in the sending queue of a socket; 0 where the system does not tell.
fn unsent_bytes(stream: &TcpStream) -> u64 {
    let port = |address: io::Result<std::net::SocketAddr>| {
        format!(":{:04X}", address.expect("an address").port())
    };
    let (own, peer) = (port(stream.local_addr()), port(stream.peer_addr()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let queue = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let queues = fields.get(4)?;
        (fields[1].ends_with(&own) && fields[2].ends_with(&peer)).then(|| queues[..8].to_owned())
    });
    queue
        .and_then(|queue| u64::from_str_radix(&queue, 16).ok())
        .unwrap_or(0)
}

#[test]
fn a_line_without_an_end_is_passed_over_in_bounded_memory() {
    let (mut client, mut server) = connected();
    let piece = vec![b'x'; 1024 * 1024];
    for _ in 0..64 {
        server.send(&piece);
    }
    server.send(b"\n");
    server.say("a", "b");
    client.stdout.wait_for("a: b\n");
    if let Some(peak) = peak_bytes(&client) {
        assert!(
            peak < 48 * 1024 * 1024,
            "{peak} bytes for 64 MiB without a newline"
        );
    }
    drop(server);
    client.ends_with("a: b\nServer disconnected\n");
}

/// The most memory that the client ever had, where the system tells.
fn peak_bytes(client: &Client) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", client.child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn huge_lines_wait_in_bounded_memory_too() {
    let (mut client, server) = connected();
    let mut stdin = client.stdin.take().expect("an open input");
    let fed = Arc::new(AtomicUsize::new(0));
    let count = fed.clone();
    let feeding = thread::spawn(move || {
        let huge = [b"x".repeat(1_000_000), b"y".repeat(4000)].join(&b'\n');
        // The server does not read: the short lines fill the way, the huge ones wait behind.
        while stdin
            .write_all(&huge)
            .and_then(|()| stdin.write_all(b"\n"))
            .is_ok()
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut last = 0;
    eventually(TEST_LIMIT, "the way to the server is full", || {
        thread::sleep(Duration::from_millis(500));
        let now = fed.load(Ordering::Relaxed);
        std::mem::replace(&mut last, now) == now && now > 0
    });
    if let Some(peak) = peak_bytes(&client) {
        assert!(peak < 40 * 1024 * 1024, "{peak} bytes");
    }
    drop(server);
    client.ends_with("Server disconnected\n");
    feeding.join().expect("the feeder ends with the client");
    assert!(client.stderr.text().starts_with("line 1: "));
}

#[test]
fn a_server_that_talks_without_a_pause_does_not_silence_the_user() {
    // What is shown, and what is passed over.
    for line in [said("a", "x"), b"{\"type\":\"pong\"}\n".to_vec()] {
        let (mut client, mut server) = connected();
        let mut flood = server.stream().try_clone().expect("a clone");
        let (under_way, began) = mpsc::channel();
        let flooding = thread::spawn(move || {
            let lines = line.repeat(1000);
            while flood.write_all(&lines).is_ok() {
                // Nobody listens after the first few.
                let _ = under_way.send(());
            }
        });
        for _ in 0..100 {
            began.recv_timeout(PATIENCE).expect("the flood goes on");
        }
        client.type_in("may I?\n");
        server.expect("message", "may I?");
        // The flood's end is the connection's.
        server.stream().shutdown(Shutdown::Both).expect("an end");
        flooding.join().expect("the flood ends");
        assert_eq!(client.wait().0, Some(0));
    }
}

#[test]
fn an_output_that_nobody_reads_does_not_silence_the_user() {
    let listening = Listening::start();
    let mut command = command(&["127.0.0.1", &listening.port()]);
    // The pipe stays in the child's handle, unread.
    command.stdout(Stdio::piped());
    let mut client = Client::with_stdout_of(command);
    let mut server = listening.accept();
    server
        .stream()
        .set_write_timeout(Some(Duration::from_millis(300)))
        .expect("a deadline");
    let line: Vec<u8> = said("a", &"x".repeat(1000)).repeat(100);
    while server.stream().write_all(&line).is_ok() {}
    client.type_in("hello?\n");
    server.expect("message", "hello?");
    // And it still hears a signal.
    send_signal(client.child.id(), "INT");
    assert_eq!(client.wait().0, Some(130));
}

#[test]
fn a_reset_while_it_sends_ends_it_too() {
    let (mut client, mut server) = connected();
    let mut stdin = client.stdin.take().expect("an open input");
    let feeding = thread::spawn(move || while stdin.write_all(b"and on and on\n").is_ok() {});
    server.expect("message", "and on and on");
    server.say("a", "goodbye");
    client.stdout.wait_for("a: goodbye\n");
    server.reset();
    client.ends_with("a: goodbye\nServer disconnected\n");
    feeding.join().expect("the feeder ends with the client");
}

#[test]
fn without_any_input_it_shows_what_is_said() {
    for input in ["</dev/null", "<&-"] {
        let listening = Listening::start();
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("exec {CLIENT} 127.0.0.1 {} {input}", listening.port()),
        ]);
        let mut client = Client::from_command(shell);
        let mut server = listening.accept();
        server.expect_end();
        server.say("a", "b");
        drop(server);
        client.ends_with("a: b\n");
    }
}

#[test]
fn an_output_that_is_full_is_a_sentence_and_status_1() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return skip("there is no /dev/full here");
    };
    let listening = Listening::start();
    let mut command = command(&["127.0.0.1", &listening.port()]);
    command.stdout(full);
    let mut client = Client::with_stdout_of(command);
    listening.accept().say("a", "1");
    assert_eq!(client.wait().0, Some(1), "{}", client.stderr.text());
    assert!(
        client.stderr.text().contains("standard output"),
        "{}",
        client.stderr.text()
    );
}

#[test]
fn an_ipv6_address_may_stand_in_brackets() {
    let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return skip("there is no IPv6 here");
    };
    let listening = Listening(listener);
    for host in ["::1", "[::1]"] {
        let mut client = Client::from_command(command(&[host, &listening.port()]));
        listening.accept().say("a", "b");
        client.ends_with("a: b\nServer disconnected\n");
    }
}

//! The real client with what the extended dialect gives: acknowledged sending, coming back
//! without loss, private messages, JSON; against the real server, through a link that is cut, and
//! against servers that do not know the dialect.

use crate::support::scripted::Listening;
use crate::support::{Chat, PATIENCE, Program, RealServer, client_of, run_to_end};
use serde_json::Value;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A link to a server that can be cut, as often as one likes.
struct Link {
    address: SocketAddr,
    state: Arc<Mutex<LinkState>>,
}

#[derive(Default)]
struct LinkState {
    is_cut: bool,
    streams: Vec<TcpStream>,
}

impl Link {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(Mutex::new(LinkState::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.expect("a connection");
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if state.is_cut {
                    continue;
                }
                let far = TcpStream::connect(server).expect("the server listens");
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let mut from = from.try_clone().expect("a second handle");
                    let mut to = to.try_clone().expect("a second handle");
                    thread::spawn(move || {
                        // The end of one side is the end of the other, in order or not.
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Write);
                    });
                }
                state.streams.extend([near, far]);
            }
        });
        Link { address, state }
    }

    fn port(&self) -> u16 {
        self.address.port()
    }

    fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_cut = true;
        for stream in state.streams.drain(..) {
            // One that is gone already is cut.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_cut = false;
    }
}

/// Plays a server without the extended dialect and returns what it receives.
fn scripted_basic() -> (u16, thread::JoinHandle<String>) {
    let listening = Listening::start();
    let port = listening.port();
    let received = thread::spawn(move || {
        let mut server = listening.accept();
        server.say("[Server]", "1.2.3.4:5 has entered the chat");
        let mut received = String::new();
        loop {
            let line = server.line();
            if line.is_empty() {
                return received;
            }
            let value: Value = serde_json::from_str(&line).expect("JSON");
            if let ("message", Some(text)) = (
                value["type"].as_str().expect("a type"),
                value["data"].as_str(),
            ) {
                server.say("1.2.3.4:5", text);
            }
            received.push_str(&line);
        }
    });
    (port, received)
}

// --say and --name

#[test]
fn say_sends_once_and_prints_nothing() {
    let server = RealServer::start(&[]);
    let mut listener = server.join("listener");
    let said = run_to_end(client_of(
        server.address.port(),
        &["--name", "ci", "--say", "build 7 is green"],
    ));
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (Some(0), "", "")
    );
    listener.skip_to("ci", "build 7 is green");
    listener.expect_notice("ci has left the chat");
}

#[test]
fn rejected_say_prints_the_reason_with_status_1() {
    let server = RealServer::start(&[]);
    let _bob = server.join("bob");
    let port = server.address.port();
    let refused = run_to_end(client_of(port, &["--name", "B0b", "--say", "x"]));
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("taken"), "{}", refused.stderr);
    let long = "x".repeat(4097);
    let refused = run_to_end(client_of(port, &["--say", &long]));
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(refused.stderr.contains("4096"), "{}", refused.stderr);
}

#[test]
fn a_name_that_is_refused_ends_a_pipe() {
    let server = RealServer::start(&[]);
    let _bob = server.join("bob");
    let mut client = Program::client(server.address.port(), &["--name", "bob"]);
    assert_eq!(client.wait(), Some(1));
    assert!(
        client.stderr.text().contains("taken"),
        "{}",
        client.stderr.text()
    );
}

#[test]
fn a_server_without_the_dialect_never_sees_a_hello() {
    let (port, heard) = scripted_basic();
    let said = run_to_end(client_of(port, &["--name", "ci", "--say", "x"]));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    assert_eq!(
        heard.join().expect("a script"),
        "{\"type\":\"set-name\",\"data\":\"ci\"}\n{\"type\":\"message\",\"data\":\"x\"}\n"
    );
    let (port, heard) = scripted_basic();
    let mut client = Program::client(port, &["--reconnect"]);
    client.type_line("hello");
    client.type_line("/msg bob x");
    client.type_line("/me waves");
    client.end_input();
    assert_eq!(client.wait(), Some(0));
    assert_eq!(
        heard.join().expect("a script"),
        "{\"type\":\"message\",\"data\":\"hello\"}\n"
    );
    let told = client.stderr.lines();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].contains("/msg") && told[1].contains("/me"),
        "{told:?}"
    );
}

// Commands

#[test]
fn two_clients_use_every_command() {
    let server = RealServer::start(&[]);
    let port = server.address.port();
    let mut alice = Program::client(port, &["--name", "alice"]);
    alice.stdout.wait_for("renamed to alice");
    let mut bob = Program::client(port, &[]);
    bob.type_line("/nick Bob B");
    alice.stdout.wait_for("renamed to Bob B");
    bob.type_line("we met at Čáslav");
    bob.type_line("/me waves");
    bob.type_line("/reply nobody");
    alice.stdout.wait_for("Bob B: * waves\n");
    alice.type_line("/msg \"Bob B\" psst");
    bob.stdout.wait_for("alice (private): psst\n");
    bob.type_line("/reply what?");
    alice.stdout.wait_for("Bob B (private): what?\n");
    alice.type_line("/search caslav");
    alice.stdout.wait_for(
        "[Server]: ── 1 message found for \"caslav\" ──\nBob B: we met at Čáslav\n\
         [Server]: ── end of the search ──\n",
    );
    alice.type_line("/search nothing");
    alice
        .stdout
        .wait_for("[Server]: Nothing was found for \"nothing\"\n");
    alice.type_line("/history 1");
    alice.stdout.wait_for(
        "[Server]: ── last message ──\nBob B: * waves\n[Server]: ── end of the history ──\n",
    );
    alice.type_line("/users");
    alice
        .stdout
        .wait_for("[Server]: Connected users (2): alice, Bob B\n");
    alice.type_line("/info");
    alice.stderr.wait_for("You are alice at 127.0.0.1");
    alice.type_line("/ignore bob b");
    alice.stderr.wait_for("Messages from \"bob b\" are hidden");
    alice.type_line("/ignore Typo");
    alice
        .stderr
        .wait_for("No user named \"Typo\" is here; the name stays ignored\n");
    assert!(!alice.stderr.text().contains("\"bob b\" is here"));
    bob.type_line("unheard");
    bob.stdout.wait_for("Bob B: unheard\n");
    // What comes after it has come, so it would be here by now.
    alice.type_line("/nick Alice");
    alice.stdout.wait_for("[Server]: alice renamed to Alice\n");
    alice.type_line("/unignore Bob B");
    alice
        .stderr
        .wait_for("Messages from \"Bob B\" are shown again");
    bob.type_line("heard");
    alice.stdout.wait_for("Bob B: heard\n");
    assert!(!alice.stdout.text().contains("unheard"));
    bob.stderr
        .wait_for("line 4: Nobody has written to you alone yet");
    bob.type_line("/quit");
    assert_eq!(bob.wait(), Some(0));
    alice.stdout.wait_for("[Server]: Bob B has left the chat\n");
}

// Coming back

#[test]
fn reconnect_shows_missed_messages_and_sends_input_once() {
    // Its users need no minimum stay for their grace time.
    let server = Chat::start();
    let link = Link::to(server.address);
    let mut other = server.join("other");
    let mut client = Program::client(link.port(), &["--reconnect", "--name", "al"]);
    client.stdout.wait_for("renamed to al");
    client.type_line("before");
    other.skip_to("al", "before");
    client.stdout.wait_for("al: before\n");
    for round in 0..3 {
        link.cut();
        other.say_and_hear(&format!("missed {round} a"));
        other.say_and_hear(&format!("missed {round} b"));
        client.type_line(&format!("typed {round} a"));
        client.type_line(&format!("typed {round} b"));
        link.mend();
        other.skip_to("al", &format!("typed {round} a"));
        other.skip_to("al", &format!("typed {round} b"));
        client.stdout.wait_for(&format!("al: typed {round} b\n"));
    }
    let told = client.stderr.text();
    assert_eq!(
        told.matches("missed 2 messages, all recovered\n").count(),
        3,
        "{told}"
    );
    let expected: Vec<String> = (0..3)
        .flat_map(|round| {
            let missed = ["a", "b"].map(|part| format!("other: missed {round} {part}"));
            let typed = ["a", "b"].map(|part| format!("al: typed {round} {part}"));
            missed.into_iter().chain(typed)
        })
        .collect();
    let mut shown = client.lines_with("missed");
    shown = client
        .stdout
        .lines()
        .into_iter()
        .filter(|line| shown.contains(line) || line.contains("typed"))
        .collect();
    assert_eq!(shown, expected);
    client.end_input();
    assert_eq!(client.wait(), Some(0));
}

#[test]
fn stalled_server_gets_a_line_only_under_its_nonce() {
    const MARKED: &[u8] = b"{\"type\":\"message\",\"data\":{\"source\":\"[Server]\",\"message\":\"1.2.3.4:5 has entered the chat\"}} \n";
    const WELCOME: &[u8] = b"{\"type\":\"welcome\",\"data\":{\"name\":\"Bob\",\"token\":\"t\",\"epoch\":\"e\",\"last\":1}}\n";
    let listening = Listening::start();
    let mut client = Program::client(listening.port(), &["--name", "Bob", "--reconnect"]);
    client.type_line("typed before the greeting");
    client.end_input();
    let mut server = listening.accept();
    let silence = "The server has not greeted yet; what you type waits until it does\n";
    client.stderr.wait_for(silence);
    server.send(MARKED);
    let has = |line: String, part: &str| assert!(line.contains(part), "{line}");
    has(server.line(), "\"hello\"");
    server.send(WELCOME);
    has(server.line(), "\"ping\"");
    has(server.line(), "\"set-name\"");
    let said = server.line();
    has(said.clone(), "\"nonce\"");
    drop(server);
    // The next connection is as silent as that to a server that is stopped.
    let mut server = listening.accept();
    client.stderr.wait_for(&format!("again\n{silence}"));
    server.send(MARKED);
    has(server.line(), "\"token\":\"t\"");
    server.send(WELCOME);
    has(server.line(), "\"ping\"");
    assert_eq!(server.line(), said);
    let nonce = said.split_once("\"nonce\":").expect("a nonce").1;
    let nonce = nonce.split('"').nth(1).expect("a nonce");
    server.send(
        format!("{{\"type\":\"ack\",\"data\":{{\"nonce\":\"{nonce}\",\"id\":2}}}}\n").as_bytes(),
    );
    has(server.line(), "\"quit\"");
    drop(server);
    assert_eq!(client.wait(), Some(0), "{}", client.stderr.text());
}

#[test]
fn restarted_server_gets_all_input_of_a_pipe() {
    let folder = crate::support::extended::Folder::new();
    let file = folder.file("chat.db");
    let file = file.to_str().expect("a path in UTF-8");
    let mut server = RealServer::start(&["--db", file]);
    let port = server.address.port();
    let mut client = Program::client(port, &["--reconnect", "--name", "ci"]);
    client.stdout.wait_for("renamed to ci");
    for number in 0..150 {
        client.type_line(&format!("line {number}"));
        if number == 70 {
            client.stdout.wait_for("ci: line 20\n");
            server.signal("KILL");
            server.wait(PATIENCE);
            server = RealServer::from_command({
                let mut command = RealServer::bare_command(&[]);
                let port = port.to_string();
                command.args(["--port", &port, "--no-web", "--db", file]);
                command
            });
        }
    }
    client.end_input();
    assert_eq!(client.wait(), Some(0), "{}", client.stderr.text());
    let expected: Vec<String> = (0..150)
        .map(|number| format!("ci: line {number}"))
        .collect();
    assert_eq!(client.lines_with("ci: line"), expected);
}

#[test]
fn client_without_reconnect_ends_with_the_server() {
    let mut server = RealServer::start(&[]);
    let mut client = Program::client(server.address.port(), &["--name", "al"]);
    client.stdout.wait_for("renamed to al");
    server.signal("TERM");
    server.wait(PATIENCE);
    assert_eq!(client.wait(), Some(0));
    let text = client.stdout.text();
    assert!(
        text.ends_with("[Server]: The server is shutting down\nServer disconnected\n"),
        "{text}"
    );
}

// Programs

#[test]
fn json_goes_in_and_out() {
    let server = RealServer::start(&[]);
    let mut client = Program::client(server.address.port(), &["--json", "--name", "bot"]);
    client.stdout.wait_for("\"new_name\":\"bot\"");
    client.type_line(r#"{"type":"message","data":{"message":"a\nb","nonce":"mine"}}"#);
    client.type_line(r#"{"type":"message","data":"plain"}"#);
    client.type_line(r#"{"type":"history","data":{"limit":1}}"#);
    client.type_line(r#"{"type":"search","data":{"query":"plain"}}"#);
    client.type_line("no json");
    client.type_line(r#"{"type":"hello","data":{"version":2,"client":"x"}}"#);
    client.type_line(r#"{"type":"quit"}"#);
    assert_eq!(client.wait(), Some(0));
    let lines: Vec<Value> = client
        .stdout
        .lines()
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let with = |kind: &str| -> Vec<&Value> {
        let lines = lines.iter().filter(|line| line["type"] == kind);
        lines.map(|line| &line["data"]).collect()
    };
    let texts: Vec<&Value> = with("message")
        .iter()
        .map(|data| &data["message"])
        .collect();
    assert_eq!(texts.last().expect("messages"), &"plain");
    assert!(texts.contains(&&Value::from("a\nb")), "{texts:?}");
    assert_eq!(with("ack")[0]["nonce"], "mine");
    assert_eq!(with("history")[0]["messages"][0]["message"], "plain");
    assert_eq!(with("search")[0]["messages"][0]["message"], "plain");
    assert_eq!(with("connected").len(), 1);
    assert_eq!(lines[0]["type"], "connected");
    assert!(!client.stdout.text().contains("[Server]"));
    assert!(!client.stdout.text().contains("token"));
    let told = client.stderr.lines();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(
        told[0].starts_with("line 5: ") && told[1].starts_with("line 6: "),
        "{told:?}"
    );
}

#[test]
fn client_ends_after_a_count_or_a_time() {
    let server = RealServer::start(&[]);
    let port = server.address.port();
    let mut other = server.join("other");
    let mut client = Program::client(port, &["--count", "2"]);
    client.stdout.wait_for("has entered");
    other.say("one");
    other.say("two\nlines");
    other.say("three");
    assert_eq!(client.wait(), Some(0));
    let text = client.stdout.text();
    assert!(text.ends_with("other: one\nother: two ↵ lines\n"), "{text}");
    let mut client = Program::client(port, &["--for", "1s"]);
    assert_eq!(client.wait(), Some(0));
    assert!(!client.stdout.text().contains("disconnected"));
}

#[test]
fn a_million_bytes_in_a_pipe_are_said_at_the_servers_pace() {
    let server = RealServer::start(&["--rate", "10000", "--burst", "10000"]);
    let mut client = Program::client(server.address.port(), &["--reconnect", "--name", "flood"]);
    let mut stdin = client.stdin.take().expect("an open input");
    let writing = thread::spawn(move || {
        for number in 0..20_000 {
            writeln!(stdin, "{number:050}").expect("the client reads");
        }
    });
    writing.join().expect("all is written");
    assert_eq!(client.wait(), Some(0), "{}", client.stderr.text());
    let shown = client.lines_with("flood: ");
    assert_eq!(shown.len(), 20_000);
    for (number, line) in shown.iter().enumerate() {
        assert_eq!(*line, format!("flood: {number:050}"));
    }
}

#[test]
fn say_does_not_read_standard_input() {
    let server = RealServer::start(&[]);
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "printf 'rest\\n' | { \"$0\" 127.0.0.1 \"$1\" --say x; cat; }",
        env!("CARGO_BIN_EXE_smolchat-client"),
        &server.address.port().to_string(),
    ]);
    let finished = run_to_end(shell);
    assert_eq!((finished.code, &*finished.stdout), (Some(0), "rest\n"));
}

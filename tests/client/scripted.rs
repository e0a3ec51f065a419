//! The real client against a scripted server.

use smolchat::limits::CLIENT_DRAIN_TIMEOUT;
use socket2::SockRef;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client and the server's side of its connection.
struct Scene {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    stderr: ChildStderr,
    server: TcpStream,
}

fn client(arguments: &[&str]) -> Command {
    let mut command = crate::support::client_command();
    command.args(arguments).env_remove("NO_COLOR");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Scene {
    fn start() -> Self {
        Scene::with(&[])
    }

    fn with(arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener
            .local_addr()
            .expect("its address")
            .port()
            .to_string();
        let mut all = vec!["127.0.0.1", &port];
        all.extend(arguments);
        let mut child = client(&all).spawn().expect("the client starts");
        let (server, _) = listener.accept().expect("the client connects");
        server.set_nodelay(true).expect("the option is there");
        server.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        server
            .set_write_timeout(Some(PATIENCE))
            .expect("a deadline");
        Scene {
            stdin: child.stdin.take(),
            stdout: BufReader::new(child.stdout.take().expect("its output")),
            stderr: child.stderr.take().expect("its errors"),
            child,
            server,
        }
    }

    fn types(&mut self, text: &[u8]) {
        let stdin = self.stdin.as_mut().expect("the input is open");
        stdin.write_all(text).expect("the client takes its input");
    }

    fn ends_input(&mut self) {
        self.stdin = None;
    }

    /// What the server gets is exactly this.
    #[track_caller]
    fn server_gets(&mut self, expected: &str) {
        let mut got = vec![0; expected.len()];
        self.server.read_exact(&mut got).expect("the client sends");
        assert_eq!(String::from_utf8_lossy(&got), expected);
    }

    /// The client has ended its sending side, and sent nothing more before.
    #[track_caller]
    fn server_gets_the_end(&mut self) {
        let mut rest = Vec::new();
        self.server
            .read_to_end(&mut rest)
            .expect("the client ends its side");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }

    fn server_sends(&mut self, text: &str) {
        self.server
            .write_all(text.as_bytes())
            .expect("the client reads");
    }

    #[track_caller]
    fn shows(&mut self, expected: &str) {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("its output is text");
        assert_eq!(line, format!("{expected}\n"));
    }

    /// Waits for the end: status, the rest of the output, the errors.
    fn end(mut self) -> (Option<i32>, String, String) {
        let status = wait(&mut self.child);
        let (mut shown, mut told) = (String::new(), String::new());
        self.stdout
            .read_to_string(&mut shown)
            .expect("its output is text");
        self.stderr
            .read_to_string(&mut told)
            .expect("its errors are text");
        (status.code(), shown, told)
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if Instant::now() > end {
            child.kill().expect("a child can be ended");
            panic!("the client did not end");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn line(source: &str, message: &str) -> String {
    let data =
        serde_json::json!({"type": "message", "data": {"source": source, "message": message}});
    format!("{data}\n")
}

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = client(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the client runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn the_dialogue_that_everything_is_measured_by() {
    let mut scene = Scene::start();
    scene.server_sends(&line("[Server]", "127.0.0.1:57354 has entered the chat"));
    scene.shows("[Server]: 127.0.0.1:57354 has entered the chat");
    scene.types(b"hello\n");
    scene.server_gets("{\"type\":\"message\",\"data\":\"hello\"}\n");
    scene.server_sends(&line("127.0.0.1:57354", "hello"));
    scene.shows("127.0.0.1:57354: hello");
    scene.types(b"/setname Kobzol\n");
    scene.server_gets("{\"type\":\"set-name\",\"data\":\"Kobzol\"}\n");
    scene.server_sends(&line("[Server]", "127.0.0.1:57354 renamed to Kobzol"));
    scene.shows("[Server]: 127.0.0.1:57354 renamed to Kobzol");
    scene.types(b"hello\n/history\n/users\n");
    scene.server_gets("{\"type\":\"message\",\"data\":\"hello\"}\n");
    scene.server_gets("{\"type\":\"history\",\"data\":\"\"}\n{\"type\":\"users\",\"data\":\"\"}\n");
}

#[test]
fn lines_are_shown_at_any_chunking() {
    let hostile = "\u{1b}]52;c;eA==\u{7}\u{1b}[2J\r\nx\u{9b}1m\u{202e}y\u{2066}";
    let text: String = [
        line("[Server]", "é has entered the chat"),
        "\r\n\nnonsense\n{\"type\":\"pong\",\"data\":1}\n[1]\n{\"type\":\"message\"}\n".to_owned(),
        line("Zoë 👩‍🔬", "tab\there, ↵ there"),
        line("a\rb\u{1b}[1m", hostile),
        "{\"data\":{\"message\":\"m\",\"x\":[],\"source\":\"s\"},\"type\":\"message\"} \r\n"
            .to_owned(),
    ]
    .concat();
    let expected = "[Server]: é has entered the chat\n\
                    Zoë 👩‍🔬: tab\there, ↵ there\n\
                    a\u{fffd}b\u{fffd}[1m: \u{fffd}]52;c;eA==\u{fffd}\u{fffd}[2J\u{fffd} ↵ x\u{fffd}1my\n\
                    s: m\n\
                    Server disconnected\n";
    for size in [1, 2, 7, 256, 512, text.len()] {
        let mut scene = Scene::start();
        for chunk in text.as_bytes().chunks(size) {
            scene.server.write_all(chunk).expect("the client reads");
        }
        scene
            .server
            .shutdown(Shutdown::Both)
            .expect("the server closes");
        let stdin = scene.stdin.take();
        let (status, shown, told) = scene.end();
        drop(stdin);
        assert_eq!(
            (status, shown.as_str(), told.as_str()),
            (Some(0), expected, ""),
            "chunks of {size}"
        );
    }
}

#[test]
fn it_sends_at_once_and_waits_for_no_greeting() {
    let mut scene = Scene::start();
    scene.types(b"first");
    scene.types(b"\nsec");
    scene.server_gets("{\"type\":\"message\",\"data\":\"first\"}\n");
    scene.types(b"ond\n");
    scene.server_gets("{\"type\":\"message\",\"data\":\"second\"}\n");
}

#[test]
fn a_server_that_closes_ends_it_in_the_midst_of_a_line() {
    let mut scene = Scene::start();
    scene.types(b"half a li");
    scene.server_sends(&line("a", "b"));
    scene
        .server
        .shutdown(Shutdown::Both)
        .expect("the server closes");
    let stdin = scene.stdin.take();
    let (status, shown, _) = scene.end();
    drop(stdin);
    assert_eq!(
        (status, shown.as_str()),
        (Some(0), "a: b\nServer disconnected\n")
    );
}

#[test]
fn a_reset_ends_it_after_what_came_before() {
    let mut scene = Scene::start();
    scene.server_sends(&line("a", "before"));
    scene.shows("a: before");
    SockRef::from(&scene.server)
        .set_linger(Some(Duration::ZERO))
        .expect("the option is there");
    let Scene {
        child,
        stdin,
        stdout,
        stderr,
        server,
    } = scene;
    drop(server);
    let mut child = child;
    assert_eq!(wait(&mut child).code(), Some(0));
    let (mut shown, mut told) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (stdout, stderr);
    stdout.read_to_string(&mut shown).expect("text");
    stderr.read_to_string(&mut told).expect("text");
    drop(stdin);
    assert_eq!(
        (shown.as_str(), told.as_str()),
        ("Server disconnected\n", "")
    );
}

#[test]
fn the_end_of_a_piped_input_ends_its_side_and_shows_what_comes() {
    let mut scene = Scene::start();
    scene.types(b"one\ntwo, unended");
    scene.ends_input();
    scene.server_gets("{\"type\":\"message\",\"data\":\"one\"}\n");
    scene.server_gets("{\"type\":\"message\",\"data\":\"two, unended\"}\n");
    scene.server_gets_the_end();
    scene.server_sends(&line("a", "late"));
    scene.shows("a: late");
    scene
        .server
        .shutdown(Shutdown::Both)
        .expect("the server closes");
    let (status, shown, _) = scene.end();
    assert_eq!(
        (status, shown.as_str()),
        (Some(0), ""),
        "nothing of a disconnection"
    );
}

#[test]
fn after_the_input_silence_ends_it_and_lines_keep_it() {
    let mut scene = Scene::start();
    scene.ends_input();
    scene.server_gets_the_end();
    let start = Instant::now();
    let rounds = 4;
    for _ in 0..rounds {
        // Each within the silence allowed, all together beyond it.
        thread::sleep(CLIENT_DRAIN_TIMEOUT * 2 / 3);
        scene.server_sends(&line("a", "still here"));
        scene.shows("a: still here");
    }
    let (status, shown, _) = scene.end();
    assert_eq!((status, shown.as_str()), (Some(0), ""));
    assert!(
        start.elapsed() > CLIENT_DRAIN_TIMEOUT * 2 / 3 * rounds + CLIENT_DRAIN_TIMEOUT * 9 / 10
    );
}

#[test]
fn what_cannot_be_said_is_explained_with_its_line_and_not_sent() {
    let mut scene = Scene::start();
    let long = "x".repeat(4097);
    scene.types(b"/serch\n\n  \n/setname\n//slash\r\n\xff\xfe\n");
    scene.types(format!("{long}\n").as_bytes());
    scene.types(&vec![b'y'; 3 << 20]);
    scene.types(b"\n/users 5\nlast\n");
    scene.ends_input();
    scene.server_gets("{\"type\":\"message\",\"data\":\"/slash\"}\n");
    scene.server_gets("{\"type\":\"message\",\"data\":\"last\"}\n");
    scene.server_gets_the_end();
    scene
        .server
        .shutdown(Shutdown::Both)
        .expect("the server closes");
    let (status, shown, told) = scene.end();
    assert_eq!((status, shown.as_str()), (Some(0), ""));
    let told: Vec<&str> = told.lines().collect();
    let beginnings = [
        "line 1: The command \"/serch\" is unknown",
        "line 4: /setname needs something after it",
        "line 6: The line is not valid UTF-8",
        "line 7: The line is longer than 4096 bytes",
        "line 8: The line is longer than 4096 bytes",
        "line 9: /users takes nothing",
    ];
    assert_eq!(told.len(), beginnings.len(), "{told:?}");
    for (told, beginning) in told.iter().zip(beginnings) {
        assert!(told.starts_with(beginning), "{told}");
    }
}

#[test]
fn a_longer_message_goes_where_the_server_takes_it() {
    let mut scene = Scene::with(&["--max-message", "5000"]);
    let long = "x".repeat(5000);
    scene.types(format!("{long}\n{long}x\nend\n").as_bytes());
    scene.server_gets(&format!("{{\"type\":\"message\",\"data\":\"{long}\"}}\n"));
    scene.server_gets("{\"type\":\"message\",\"data\":\"end\"}\n");
}

#[test]
fn quit_leaves_after_what_was_typed_before() {
    let mut scene = Scene::start();
    scene.types(b"/help\nbye\n/quit\nnever said\n");
    scene.server_gets("{\"type\":\"message\",\"data\":\"bye\"}\n");
    scene.server_gets_the_end();
    scene
        .server
        .shutdown(Shutdown::Both)
        .expect("the server closes");
    let stdin = scene.stdin.take();
    let (status, shown, told) = scene.end();
    drop(stdin);
    assert_eq!((status, shown.as_str()), (Some(0), ""));
    for command in ["/setname NAME", "/history", "/users", "/help", "/quit"] {
        assert!(told.contains(command), "{told}");
    }
}

#[test]
fn a_crowd_of_lines_is_sent_at_the_servers_pace_and_none_is_lost() {
    const LINES: usize = 200_000;
    let mut scene = Scene::start();
    let mut stdin = scene.stdin.take().expect("the input is open");
    let typing = thread::spawn(move || {
        let lines: String = (0..LINES).map(|number| format!("{number}\n")).collect();
        stdin
            .write_all(lines.as_bytes())
            .expect("the client takes its input");
    });
    let mut received = BufReader::new(scene.server.try_clone().expect("a second handle"));
    for number in 0..LINES {
        let mut line = String::new();
        received.read_line(&mut line).expect("the client sends");
        assert_eq!(
            line,
            format!("{{\"type\":\"message\",\"data\":\"{number}\"}}\n")
        );
        if number == LINES / 2 {
            // Half of it waits in pipes, sockets and the client: that is bounded.
            let memory = resident_bytes(scene.child.id());
            assert!(memory.is_none_or(|bytes| bytes < 64 << 20), "{memory:?}");
        }
    }
    typing.join().expect("the input ends");
    scene.server_gets_the_end();
}

/// Memory of a process; none where the system does not tell.
fn resident_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

#[test]
fn a_server_that_does_not_read_is_still_shown() {
    let mut scene = Scene::start();
    let mut stdin = scene.stdin.take().expect("the input is open");
    let typing = thread::spawn(move || {
        let line = format!("{}\n", "x".repeat(4000));
        // More than all buffers hold; ended by the client's end.
        while stdin.write_all(line.as_bytes()).is_ok() {}
    });
    for number in 0..100 {
        scene.server_sends(&line("a", &number.to_string()));
        scene.shows(&format!("a: {number}"));
    }
    scene.child.kill().expect("the client ends");
    scene.child.wait().expect("the client has ended");
    typing.join().expect("the input ends");
}

#[test]
fn a_closed_output_ends_it_quietly() {
    let mut scene = Scene::start();
    scene.server_sends(&line("a", "b"));
    scene.shows("a: b");
    let Scene {
        mut child,
        stdin,
        stdout,
        mut stderr,
        mut server,
    } = scene;
    drop(stdout);
    let end = Instant::now() + PATIENCE;
    // The client notices at its next line.
    while server.write_all(line("a", "c").as_bytes()).is_ok()
        && child.try_wait().is_ok_and(|ended| ended.is_none())
    {
        assert!(Instant::now() < end, "the client does not notice");
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(wait(&mut child).code(), Some(0));
    drop(stdin);
    let mut told = String::new();
    stderr.read_to_string(&mut told).expect("text");
    assert_eq!(told, "");
}

#[test]
fn what_is_no_chat_is_named() {
    let mut scene = Scene::start();
    scene.server_sends("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    scene
        .server
        .shutdown(Shutdown::Both)
        .expect("the server closes");
    let stdin = scene.stdin.take();
    let (status, shown, told) = scene.end();
    drop(stdin);
    assert_eq!((status, shown.as_str()), (Some(0), "Server disconnected\n"));
    assert!(
        told.contains("check that smolchat-server is at this address"),
        "{told}"
    );
}

#[test]
fn no_connection_is_status_1_and_one_sentence() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener
            .local_addr()
            .expect("its address")
            .port()
            .to_string()
    };
    for (arguments, part) in [
        (["127.0.0.1", port.as_str()], "nobody listens there"),
        (
            ["no.such.host.invalid", "5555"],
            "no address is known for that name",
        ),
    ] {
        let (status, shown, told) = run(&arguments);
        assert_eq!((status, shown.as_str()), (Some(1), ""));
        assert!(told.contains(part) && told.lines().count() == 1, "{told}");
    }
}

#[test]
fn a_host_name_tries_all_its_addresses() {
    // `localhost` may be ::1 first, where nobody listens.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener
        .local_addr()
        .expect("its address")
        .port()
        .to_string();
    let mut child = client(&["localhost", &port])
        .spawn()
        .expect("the client starts");
    let (server, _) = listener.accept().expect("the client connects");
    drop(server);
    assert_eq!(wait(&mut child).code(), Some(0));
}

#[test]
fn wrong_use_is_status_2_and_one_sentence() {
    for arguments in [
        &["127.0.0.1", "0"][..],
        &["127.0.0.1", "65536"],
        &["127.0.0.1", "x"],
        &["127.0.0.1", "1", "2"],
        &["127.0.0.1", "1", "--nonsense"],
        &["127.0.0.1", "1", "--max-message", "0"],
    ] {
        let (status, shown, told) = run(arguments);
        assert_eq!((status, shown.as_str()), (Some(2), ""), "{arguments:?}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn help_and_version_are_no_mistakes() {
    for option in ["--help", "-h"] {
        let (status, shown, _) = run(&[option]);
        assert_eq!(status, Some(0));
        for part in [
            "host",
            "port",
            "--max-message",
            "/setname",
            "0 ",
            "1 ",
            "2 ",
            "70 ",
            "130 ",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
    let version = format!("smolchat-client {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["--version"]), (Some(0), version, String::new()));
}

#[cfg(unix)]
#[test]
fn ctrl_c_is_status_130() {
    let mut scene = Scene::start();
    scene.server_sends(&line("a", "b"));
    scene.shows("a: b");
    let process = scene.child.id().to_string();
    let sent = Command::new("kill")
        .args(["-INT", &process])
        .status()
        .expect("kill is there");
    assert!(sent.success());
    let stdin = scene.stdin.take();
    assert_eq!(scene.end().0, Some(130));
    drop(stdin);
}

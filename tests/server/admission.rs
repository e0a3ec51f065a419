//! Connections beyond the limits of the server or of the system.

use crate::support::{Chat, LineClient, RealServer, skip, wait_for_users};
use smolchat::server::ServerConfig;
use smolchat::server::limits::Limits;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

#[test]
fn dual_stack_listener_limits_connects_per_ipv4_address() {
    if std::net::TcpListener::bind("[::]:0").is_err() {
        return skip("this machine has no IPv6");
    }
    if std::net::TcpListener::bind("127.0.0.2:0").is_err() {
        return skip("this machine has one loopback address only");
    }
    let chat = Chat::with_config(ServerConfig {
        chat_host: "::".into(),
        limits: Limits {
            connects_per_minute: Some(2),
            ..Limits::default()
        },
        ..Chat::config()
    });
    // The listener sees ::ffff:127.0.0.1 and ::ffff:127.0.0.2. Counted as IPv6 addresses, all of
    // IPv4 and ::1 would share one /64.
    let mut sources = vec!["127.0.0.1:0", "127.0.0.2:0"];
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        sources.push("[::1]:0");
    }
    for source in sources {
        let connect = || chat.connect_from(source.parse().expect("an address"), "guest");
        let mut inside = Vec::new();
        for _ in 0..2 {
            let mut guest = connect();
            guest.expect_own_arrival();
            inside.push(guest);
        }
        for _ in 0..3 {
            let mut rejected = connect();
            let sentence = rejected.notice();
            assert!(
                sentence.starts_with("Too many new connections from your address"),
                "from {source}: {sentence}"
            );
            rejected.expect_end();
        }
        let name = inside[1].name.clone();
        inside[1].say("x");
        inside[1].skip_to(&name, "x");
    }
}

/// A server that may have only so many open files.
fn server_with_descriptors(count: u64, arguments: &[&str]) -> RealServer {
    let command = RealServer::command(arguments);
    let mut shell = Command::new("sh");
    // The shell becomes the server: its number is the server's.
    shell.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    RealServer::from_command(shell)
}

#[test]
fn server_without_descriptors_neither_ends_nor_spins() {
    let server = server_with_descriptors(64, &[]);
    let mut witness = server.join("witness");
    // More than there are descriptors for: the last are told so, and closed.
    let mut crowd: Vec<LineClient> = (0..100)
        .map(|number| server.connect_raw(&format!("c{number}")))
        .collect();
    server.stderr.wait_for("no file descriptor is left");
    let mut last = crowd.pop().expect("the last of them");
    last.expect_notice("The server has no room for a further connection; try again later");
    last.expect_end();
    witness.say_and_skip_to("still served");
    let before = server.cpu_ticks();
    thread::sleep(Duration::from_secs(2));
    match (before, server.cpu_ticks()) {
        (Some(before), Some(after)) => {
            let used = after - before;
            assert!(
                used < 30,
                "{used} hundredths of a second of CPU time in two seconds of waiting"
            );
        }
        _ => skip("this system does not tell the computing time of a process"),
    }
    drop(crowd);
    // Those who had waited come in and find that they are gone; then there is room again.
    wait_for_users(&mut witness, 1);
    let mut late = server.connect("late");
    late.say("hello");
    late.skip_to(&late.name.clone(), "hello");
}

#[test]
fn page_reader_leaves_the_reserve_descriptor() {
    let server = server_with_descriptors(64, &[]);
    let mut witness = server.join("witness");
    let _crowd: Vec<LineClient> = (0..70)
        .map(|number| server.connect_raw(&format!("c{number}")))
        .collect();
    server.stderr.wait_for("no file descriptor is left");
    let (mut readers, mut inside) = (Vec::new(), Vec::new());
    for number in 0..20 {
        // Both at once: whoever is accepted first may find the spare of the other.
        let web = server.web.expect("a page");
        let mut reader = TcpStream::connect(web).expect("connected");
        let told: Vec<LineClient> = (0..2)
            .map(|_| server.connect_raw(&format!("told{number}")))
            .collect();
        let head = b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        reader.write_all(head).expect("sent");
        readers.push(reader);
        for mut told in told {
            // Let in, or told that there is no room: never left without a word.
            told.must_get();
            inside.push(told);
        }
    }
    witness.say_and_skip_to("still served");
}

#[test]
fn max_clients_beyond_descriptors_is_a_warning() {
    let server = server_with_descriptors(256, &["--max-clients", "5000"]);
    server.stderr.wait_for("--max-clients 5000");
    server.stderr.wait_for("256");
    let mut guest = server.connect("guest");
    guest.say("it works all the same");
    guest.skip_to(&guest.name.clone(), "it works all the same");
}

#[test]
fn soft_descriptor_limit_is_raised() {
    let Ok((_, hard)) = rlimit::Resource::NOFILE.get() else {
        return skip("this system tells no limit of open files");
    };
    if hard < 200 {
        return skip("the hard limit of open files is too low");
    }
    let command = RealServer::command(&[]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -Sn 64; exec \"$0\" \"$@\""]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let server = RealServer::from_command(shell);
    let mut crowd: Vec<LineClient> = (0..100)
        .map(|number| server.connect(&format!("c{number}")))
        .collect();
    crowd[0].say_and_skip_to("all are here");
    wait_for_users(&mut crowd[0], 100);
}

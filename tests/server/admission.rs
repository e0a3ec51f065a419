//! Connections beyond the limits of the server or of the system.

use crate::support::http::Http;
use crate::support::{Chat, LineClient, PATIENCE, RealServer, eventually, skip, wait_for_users};
use smolchat::server::ServerConfig;
use smolchat::server::limits::Limits;

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

#[cfg(target_os = "linux")]
#[test]
fn other_protocol_that_waits_for_admission_is_never_announced() {
    let server = RealServer::start(&[]);
    let mut witness = server.join("witness");
    // The kernel accepts the connections and their first bytes meanwhile.
    server.halt();
    let mut browser = server.connect_raw("browser");
    browser.send_raw(b"POST /chat HTTP/1.1\r\n\r\n");
    let mut tls = server.connect_raw("tls");
    tls.send_raw(&[0x16, 3, 1, 0, 200]);
    let mut client = server.connect_raw("client");
    client.say("hello");
    server.signal("CONT");
    let lines: Vec<_> = std::iter::from_fn(|| browser.next_line()).collect();
    assert!(lines[0].starts_with(b"HTTP/1.1 400 "), "{lines:?}");
    assert!(tls.notice().contains("TLS"));
    tls.expect_end();
    let seen = witness.skip_to(&client.address(), "hello");
    let arrived = format!("{} has entered the chat", client.address());
    let texts: Vec<_> = seen.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, [arrived]);
    let refused = "smolchat_connections_refused_total{reason=\"other-protocol\"}";
    assert_eq!(server.metric(refused), 2);
}

/// Starts a server with a limit of open files.
fn server_with_descriptors(count: u64, arguments: &[&str]) -> RealServer {
    let setup = format!("ulimit -n {count}");
    RealServer::from_command(RealServer::command_after(&setup, arguments))
}

#[test]
fn address_that_connects_too_often_is_rejected_unannounced() {
    let server = RealServer::start(&["--connect-rate", "3"]);
    let [mut first, _second, _third] = server.room(["first", "second", "third"]);
    for _ in 0..20 {
        let mut surplus = server.connect_raw("surplus");
        let sentence = surplus.notice();
        let rest =
            sentence.strip_prefix("Too many new connections from your address; try again in ");
        let seconds: Option<u64> = rest.and_then(|rest| rest.strip_suffix(" s")?.parse().ok());
        assert!(
            seconds.is_some_and(|seconds| (1..=20).contains(&seconds)),
            "{sentence}"
        );
        surplus.expect_end();
    }
    first.say_and_hear("nobody else came");
}

#[test]
fn server_without_descriptors_neither_ends_nor_spins() {
    let server = server_with_descriptors(64, &[]);
    let mut witness = server.join("witness");
    // More than there are descriptors for: the server tells the last ones so.
    let mut crowd: Vec<LineClient> = (0..100)
        .map(|number| server.connect_raw(&format!("c{number}")))
        .collect();
    server.stderr.wait_for("no file descriptor is left");
    let mut last = crowd.pop().expect("the last of them");
    last.expect_notice("The server has no room for a further connection; try again later");
    last.expect_end();
    witness.say_and_skip_to("still served");
    server.check_idle();
    drop(crowd);
    // The server accepts the connections that waited, and finds that they are closed.
    wait_for_users(&mut witness, 1);
    eventually(PATIENCE, "every connection is counted", || {
        server.metric("smolchat_connections_accepted_total") == 101
    });
    let rejected = server.metric("smolchat_connections_refused_total{reason=\"no-descriptor\"}");
    assert!((1..100).contains(&rejected), "{rejected}");
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
        // At the same time, because both listeners share the reserve.
        let mut reader = Http::connect(server.web.expect("a page"));
        let told: Vec<LineClient> = (0..2)
            .map(|_| server.connect_raw(&format!("told{number}")))
            .collect();
        reader.request("/api/events");
        readers.push(reader);
        for mut told in told {
            // Its own arrival, or that there is no room.
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
    let command = RealServer::command_after("ulimit -Sn 64", &[]);
    let server = RealServer::from_command(command);
    let mut crowd: Vec<LineClient> = (0..100)
        .map(|number| server.connect(&format!("c{number}")))
        .collect();
    crowd[0].say_and_skip_to("all are here");
    wait_for_users(&mut crowd[0], 100);
}

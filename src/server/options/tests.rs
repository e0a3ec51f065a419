use super::*;

fn parse(arguments: &str) -> Result<ServerConfig, String> {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let options = ServerOptions::from_args(&["smolchat-server"], &arguments);
    options.unwrap().check()
}

#[test]
fn no_options_give_the_defaults() {
    assert_eq!(parse(""), Ok(ServerConfig::default()));
}

#[test]
fn every_option_reaches_the_configuration() {
    let config = parse(
        "--host :: --port 0 --web-host 0.0.0.0 --web-port 81 --web-name Chat.example.org
        --web-name box.lan. --web-connections-per-address 11 --web-streams-per-address 12
        --max-clients 2 --max-clients-per-address 3 --history 4 --max-message 5 --max-line 1000
        --rate 7 --burst 8 --max-lag 4097 --connect-rate 9 --public-metrics --web-read-only
        --announce-limit 10 --db chat.db --db-sync full --keep-messages 13 --keep-days 14
        --threads 2 --trusted-proxy 10.0.0.0/8 --trusted-proxy ::1",
    );
    let expected = ServerConfig {
        store: Some(StoreOptions {
            path: "chat.db".into(),
            sync: SyncMode::Full,
            keep_messages: Some(13),
            keep_for: Some(14 * DAY),
        }),
        chat_host: "::".into(),
        chat_port: 0,
        web: Some(WebConfig {
            host: "0.0.0.0".into(),
            port: 81,
            metrics_are_public: true,
            is_read_only: true,
            port_was_chosen: true,
            names: ["chat.example.org", "box.lan"]
                .map(|name| HostName::parse(name).unwrap())
                .to_vec(),
            trusted_proxies: ["10.0.0.0/8", "::1"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
        }),
        limits: Limits {
            max_clients: 2,
            max_clients_per_address: Some(3),
            history_messages: 4,
            max_message_bytes: 5,
            max_line_bytes: 1000,
            rate_per_second: 7,
            burst_lines: 8,
            connects_per_minute: Some(9),
            max_lag_bytes: 4097,
            announce_limit: 10,
            web: WebLimits {
                connections_per_address: Some(11),
                streams_per_address: Some(12),
                ..WebLimits::default()
            },
            ..Limits::default()
        },
        threads: 2,
    };
    assert_eq!(config, Ok(expected));
    assert_eq!(parse("--no-web").unwrap().web, None);
}

#[test]
fn value_out_of_range_is_rejected_with_its_range() {
    for (option, bad, least, most) in [
        ("--max-clients", "0", 1, 1_000_000),
        ("--max-clients", "1000001", 1, 1_000_000),
        ("--max-clients-per-address", "1000001", 0, 1_000_000),
        ("--web-connections-per-address", "1000001", 0, 1_000_000),
        ("--web-streams-per-address", "1000001", 0, 1_000_000),
        ("--history", "1000001", 0, 1_000_000),
        ("--max-message", "0", 1, 1_048_576),
        ("--rate", "0", 1, 10_000_000),
        ("--rate", "10000001", 1, 10_000_000),
        ("--burst", "0", 1, 10_000_000),
        ("--connect-rate", "1000001", 0, 1_000_000),
        ("--max-lag", "1", 4096, 1_073_741_824),
        ("--announce-limit", "1000001", 0, 1_000_000),
        ("--threads", "0", 1, 256),
    ] {
        let expected =
            format!("{option} {bad} is out of range: choose a number from {least} to {most}");
        assert_eq!(parse(&format!("{option} {bad}")), Err(expected));
    }
}

#[test]
fn open_listeners_have_limits_per_address() {
    for (arguments, expected) in [
        ("", [None; 4]),
        ("--host ::1 --web-host localhost", [None; 4]),
        ("--web-host 0.0.0.0 --no-web", [None; 4]),
        ("--host 0.0.0.0", [Some(250), Some(500), None, None]),
        (
            "--web-host ::",
            [Some(250), Some(500), Some(576), Some(500)],
        ),
        (
            "--host chat.lan --max-clients 20",
            [Some(50), Some(100), None, None],
        ),
        (
            "--host 0.0.0.0 --web-host 0.0.0.0 --max-clients-per-address 0 --connect-rate 0
            --web-connections-per-address 0 --web-streams-per-address 0",
            [None; 4],
        ),
        (
            "--host 0.0.0.0 --web-host 0.0.0.0 --max-clients-per-address 1 --connect-rate 2
            --web-connections-per-address 3 --web-streams-per-address 4",
            [Some(1), Some(2), Some(3), Some(4)],
        ),
    ] {
        let limits = parse(arguments).unwrap().limits;
        let told = [
            limits.max_clients_per_address,
            limits.connects_per_minute.map(|rate| rate as usize),
            limits.web.connections_per_address,
            limits.web.streams_per_address,
        ];
        assert_eq!(told, expected, "{arguments}");
    }
}

#[test]
fn web_host_name_is_implicitly_allowed() {
    let config = |host: &str| parse(&format!("--web-host {host}")).unwrap();
    let names = |host: &str| config(host).web.unwrap().names;
    assert_eq!(names("Chat.lan"), [HostName::parse("chat.lan").unwrap()]);
    assert_eq!(names("0.0.0.0"), []);
    assert_eq!(names("::1"), []);
}

#[test]
fn names_of_the_machine_are_allowed() {
    let mut config = parse("--web-name chat.example.org").unwrap();
    config.allow_machine_name("box");
    let names = ["chat.example.org", "box", "box.local"];
    let names = names.map(|name| HostName::parse(name).unwrap());
    assert_eq!(config.web.unwrap().names, names);
    let mut config = parse("--no-web").unwrap();
    config.allow_machine_name("box");
    assert_eq!(config.web, None);
}

#[test]
fn longest_line_must_hold_the_longest_message_escaped() {
    let escaped = format!(r#"{{"type":"message","data":"{}"}}"#, "\\u0001".repeat(100));
    let enough = escaped.len();
    let check = |max_line| parse(&format!("--max-message 100 --max-line {max_line}"));
    assert!(check(enough).is_ok());
    let error = check(enough - 1).unwrap_err();
    assert!(error.ends_with(&format!("at least {enough}")), "{error}");
}

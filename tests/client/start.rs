//! How the real client is started: its options and its file, where the past begins, the documents
//! that it generates, and the statuses that it ends with.

use crate::support::scripted::Listening;
use crate::support::{Program, RealServer, client_command, client_of, run_to_end, send_signal};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A folder of a user whose configuration file says this; removed when dropped.
struct Home(PathBuf);

impl Home {
    fn with(configuration: &str) -> Self {
        let name = format!("user-{}-{:x}", std::process::id(), fastrand::u64(..));
        let home = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(home.join("smolchat")).expect("a folder");
        fs::write(home.join("smolchat/client.toml"), configuration).expect("a file");
        Home(home)
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = client_command();
        command.args(arguments).env("XDG_CONFIG_HOME", &self.0);
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // Where it cannot be removed it lies in the folder of the tests.
        let _ = fs::remove_dir_all(&self.0);
    }
}

// The past

#[test]
fn history_comes_first_and_each_message_once() {
    let server = RealServer::start(&[]);
    let port = server.address.port();
    let mut bob = server.join("bob");
    for text in ["one", "two", "three"] {
        bob.say(text);
        bob.skip_to("bob", text);
    }
    let arguments = ["--json", "--since", "1h", "--count", "3"];
    let past = run_to_end(client_of(port, &arguments));
    assert_eq!(past.code, Some(0), "{}", past.stderr);
    let messages: Vec<Value> = past
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["type"] == "message" && line["data"]["id"].is_u64())
        .collect();
    let texts: Vec<&Value> = messages
        .iter()
        .map(|line| &line["data"]["message"])
        .collect();
    assert_eq!(texts, ["one", "two", "three"]);
    let second = messages[1]["data"]["id"].to_string();
    let mut client = Program::client(port, &["--since", &second, "--count", "2"]);
    client.stdout.wait_for("bob: three\n");
    bob.say("four");
    assert_eq!(client.wait(), Some(0));
    assert_eq!(client.lines_with("bob: "), ["bob: three", "bob: four"]);
}

#[test]
fn server_without_history_is_reported() {
    let listening = Listening::start();
    let client = Program::client(listening.port(), &["--since", "5m"]);
    let mut server = listening.accept();
    server.say("[Server]", "1.2.3.4:5 has entered the chat");
    client
        .stderr
        .wait_for("does not know --since; nothing was sent\n");
    server.say("bob", "I have entered the chat");
    client.stdout.wait_for("bob: I have entered the chat\n");
}

// The file

#[test]
fn configuration_file_sets_server_and_name() {
    let server = RealServer::start(&[]);
    let mut bob = server.join("bob");
    let port = server.address.port();
    let home = Home::with(&format!(
        "# mine\nhost = \"127.0.0.1\"\nport = {port}\nname = \"Al\"\n"
    ));
    let said = run_to_end(home.client(&["--say", "from the file"]));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    bob.skip_to("Al", "from the file");
    let said = run_to_end(home.client(&["--name", "Bo", "--say", "not from the file"]));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    bob.skip_to("Bo", "not from the file");
}

#[test]
fn configuration_error_names_its_line() {
    let home = Home::with("name = \"Al\"\ncolour = \"16\"\n");
    let failed = run_to_end(home.client(&["127.0.0.1", "1"]));
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(2), ""));
    assert_eq!(failed.stderr.lines().count(), 1, "{}", failed.stderr);
    for part in ["client.toml, line 2: ", "\"colour\"", "\"color\""] {
        assert!(failed.stderr.contains(part), "{}", failed.stderr);
    }
}

#[test]
fn first_start_explains_what_to_type() {
    // Whether there is a server or not.
    let mut command = client_command();
    command.args(["--for", "1s"]);
    let first = run_to_end(command);
    let told = first.stderr.lines().next().unwrap_or_default();
    let expected = "Connecting to localhost port 5555; for another server type smolchat-client HOST PORT, or write them to ";
    assert!(told.starts_with(expected), "{told}");
    assert!(told.ends_with("smolchat/client.toml"), "{told}");
    assert!(matches!(first.code, Some(0 | 1)), "{first:?}");
}

// Documents

#[test]
fn manual_pages_and_completions_are_generated() {
    let programs = [
        ("smolchat-client", env!("CARGO_BIN_EXE_smolchat-client")),
        ("smolchat-server", env!("CARGO_BIN_EXE_smolchat-server")),
    ];
    for (name, path) in programs {
        for (document, part) in [
            ("man", ".SH \"EXIT STATUS\"".to_owned()),
            ("bash", format!("complete -F _{name} ")),
            ("zsh", format!("#compdef {name}")),
            ("fish", format!("complete -c {name} ")),
        ] {
            let mut command = Command::new(path);
            command.args(["--generate", document]);
            let made = run_to_end(command);
            assert_eq!((made.code, made.stderr.as_str()), (Some(0), ""));
            for part in [&part, "generate"] {
                assert!(made.stdout.contains(part), "{document}: {}", made.stdout);
            }
            let values = match document {
                "zsh" => ":value:(man bash zsh fish)'",
                "fish" => "-l generate -x -a 'man bash zsh fish' -d",
                _ => "",
            };
            assert!(made.stdout.contains(values), "{document}: {}", made.stdout);
            if document == "bash" {
                completes_in_bash(name, &made.stdout);
            }
        }
        let mut command = Command::new(path);
        command.args(["--generate", "pdf"]);
        let refused = run_to_end(command);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        assert!(refused.stderr.contains("man, bash, zsh and fish"));
    }
}

#[track_caller]
fn completes_in_bash(program: &str, script: &str) {
    let ask = format!(
        "COMP_WORDS=({program} --generate z); COMP_CWORD=2; _{program}; echo \"${{COMPREPLY[@]}}\""
    );
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{script}\n{ask}")]);
    if Command::new("bash").arg("--version").output().is_err() {
        return crate::support::skip("bash is missing: its completions were not read by it");
    }
    let completed = run_to_end(command);
    assert_eq!(completed.stdout, "zsh\n", "{script}");
}

// Statuses

#[test]
fn terminal_options_are_rejected_in_a_pipe() {
    for option in ["--time", "--bell"] {
        let refused = run_to_end(client_of(1, &[option]));
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
        assert!(
            refused.stderr.contains("need a terminal"),
            "{}",
            refused.stderr
        );
    }
}

#[test]
fn exit_statuses_match_help() {
    let mut command = client_command();
    command.arg("--help");
    let help = run_to_end(command);
    for status in [
        "0 done",
        "1 could not",
        "2 used wrongly",
        "70 ",
        "130 interrupted",
    ] {
        assert!(
            help.stdout
                .lines()
                .any(|line| line.trim().starts_with(status)),
            "{status}: {}",
            help.stdout
        );
    }
    let server = RealServer::start(&[]);
    let port = server.address.port();
    assert_eq!(run_to_end(client_of(port, &["--for", "1"])).code, Some(0));
    assert_eq!(run_to_end(client_of(port, &["--say", "x"])).code, Some(0));
    assert_eq!(run_to_end(client_of(port, &["--shout"])).code, Some(2));
    assert_eq!(
        run_to_end(client_of(port, &["--since", "soon"])).code,
        Some(2)
    );
    let free_port = Listening::start().port();
    assert_eq!(run_to_end(client_of(free_port, &[])).code, Some(1));
    let mut client = Program::client(port, &[]);
    client.stdout.wait_for("has entered the chat");
    send_signal(client.id(), "INT");
    assert_eq!(client.wait(), Some(130));
}

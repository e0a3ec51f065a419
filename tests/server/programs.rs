//! Both programs together, and the example of the README.

use crate::support::{Chat, PATIENCE, Program, RealServer, skip};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

#[test]
fn transcript_of_both_programs_is_word_for_word() {
    let mut server = RealServer::start(&[]);
    let mut client = Program::client(server.address.port(), &[]);
    let arrival = client.stdout.wait_for_lines(1).remove(0);
    let name = arrival
        .strip_prefix("[Server]: ")
        .and_then(|rest| rest.strip_suffix(" has entered the chat"));
    let name = name.expect("an arrival").to_owned();
    assert!(name.starts_with("127.0.0.1:"), "{name}");
    assert!(name.parse::<SocketAddr>().is_ok(), "{name}");
    for (index, line) in ["hello", "/setname Kobzol", "hello"].iter().enumerate() {
        client.type_line(line);
        client.stdout.wait_for_lines(index + 2);
    }
    let expected = format!(
        "[Server]: {name} has entered the chat\n\
         {name}: hello\n\
         [Server]: {name} renamed to Kobzol\n\
         Kobzol: hello\n"
    );
    assert_eq!(client.stdout.text(), expected);
    server.stdout.wait_for_lines(4);
    assert_eq!(server.stdout.text(), expected);
    client.end_input();
    assert_eq!(client.wait(), Some(0));
    assert_eq!(client.stderr.text(), "");
    server
        .stdout
        .wait_for("[Server]: Kobzol has left the chat\n");
    server.signal("TERM");
    assert!(server.wait(PATIENCE).success());
    let last = "[Server]: Kobzol has left the chat\n[Server]: The server is shutting down\n";
    assert_eq!(server.stdout.text(), expected + last);
}

#[test]
fn python_example_of_the_readme_joins_the_chat() {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("a README");
    let program = readme
        .split("```python\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("a program in Python");
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("no python3 is installed");
    }
    let chat = Chat::start();
    let mut alice = chat.join("alice");
    let mut command = Command::new("python3");
    command
        .args(["-c", program, "127.0.0.1", &chat.address.port().to_string()])
        .stdin(Stdio::piped());
    let mut python = Program::spawn(command);
    let arrival = alice.notice();
    let name = arrival
        .strip_suffix(" has entered the chat")
        .expect("an arrival");
    python.type_line("hello from Python");
    alice.expect(name, "hello from Python");
    alice.say_and_hear("hello from Rust");
    python.stdout.wait_for("hello from Rust\n");
    let expected =
        format!("[Server]: {arrival}\n{name}: hello from Python\nalice: hello from Rust\n");
    assert_eq!(python.stdout.text(), expected);
    python.end_input();
    alice.expect_notice(&format!("{name} has left the chat"));
    assert_eq!(python.wait(), Some(0));
}

//! What a typed line means.
//!
//! What lives here: the one table of commands, which feeds dispatch, help and errors alike.
//! The session uses it. It must never do anything: it says what is to be done.

use crate::protocol::basic::encode_request;
use crate::text::{is_blank, quoted};

/// A command.
#[derive(Debug)]
struct Command {
    name: &'static str,
    argument: Option<&'static str>,
    help: &'static str,
    action: Action,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    SetName,
    History,
    Users,
    Help,
    Quit,
}

const COMMANDS: [Command; 5] = [
    Command {
        name: "/setname",
        argument: Some("NAME"),
        help: "change your name",
        action: Action::SetName,
    },
    Command {
        name: "/history",
        argument: None,
        help: "replay the recent messages",
        action: Action::History,
    },
    Command {
        name: "/users",
        argument: None,
        help: "tell who is here",
        action: Action::Users,
    },
    Command {
        name: "/help",
        argument: None,
        help: "explain the commands",
        action: Action::Help,
    },
    Command {
        name: "/quit",
        argument: None,
        help: "leave",
        action: Action::Quit,
    },
];

/// What is to be done about a typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Do nothing.
    Nothing,
    /// Show this; it was asked for.
    Help(String),
    /// Explain why nothing was sent.
    Refused(String),
    /// Leave.
    Quit,
}

/// What a typed line means, where messages may have so many bytes.
pub fn interpret(line: &str, max_message_bytes: usize) -> Typed {
    if is_blank(line) {
        return Typed::Nothing;
    }
    match line.strip_prefix('/') {
        None => say(line, max_message_bytes),
        Some(rest) if rest.starts_with('/') => say(rest, max_message_bytes),
        Some(_) => run_command(line),
    }
}

fn say(text: &str, max_message_bytes: usize) -> Typed {
    if text.len() > max_message_bytes {
        return Typed::Refused(too_long(max_message_bytes));
    }
    Typed::Send(request("message", text))
}

/// Why a line cannot be said: it is too long.
pub fn too_long(max_message_bytes: usize) -> String {
    format!("The line is longer than {max_message_bytes} bytes and was not sent; say it in parts")
}

fn run_command(line: &str) -> Typed {
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let Some(command) = COMMANDS.iter().find(|command| command.name == word) else {
        return Typed::Refused(format!(
            "The command {} is unknown and was not sent; the commands are {}, and //x says /x",
            quoted(word),
            names()
        ));
    };
    match (command.argument, argument.is_empty()) {
        (Some(needed), true) => {
            return Typed::Refused(format!("{word} needs something after it: {word} {needed}"));
        }
        (None, false) => return Typed::Refused(format!("{word} takes nothing after it")),
        _ => {}
    }
    match command.action {
        Action::SetName => Typed::Send(request("set-name", argument)),
        Action::History => Typed::Send(request("history", "")),
        Action::Users => Typed::Send(request("users", "")),
        Action::Help => Typed::Help(help()),
        Action::Quit => Typed::Quit,
    }
}

fn request(kind: &str, data: &str) -> Vec<u8> {
    let mut line = Vec::new();
    encode_request(&mut line, kind, data);
    line
}

fn names() -> String {
    COMMANDS.map(|command| command.name).join(", ")
}

/// The commands with their explanations, a line each.
fn help() -> String {
    let usage = |command: &Command| match command.argument {
        Some(argument) => format!("{} {argument}", command.name),
        None => command.name.to_owned(),
    };
    let mut lines: Vec<String> = COMMANDS
        .iter()
        .map(|command| format!("{:<15}{}", usage(command), command.help))
        .collect();
    lines.push(format!(
        "{:<15}say /x; any line without / at its beginning is said as it is",
        "//x"
    ));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sends(line: &str, expected: &str) {
        let typed = interpret(line, 20);
        assert_eq!(
            typed,
            Typed::Send(format!("{expected}\n").into_bytes()),
            "{line:?}"
        );
    }

    fn refused(line: &str, part: &str) {
        match interpret(line, 20) {
            Typed::Refused(sentence) => assert!(sentence.contains(part), "{line:?}: {sentence}"),
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn lines_are_said_as_they_are() {
        sends("hello", r#"{"type":"message","data":"hello"}"#);
        sends(" a \"b\" ", r#"{"type":"message","data":" a \"b\" "}"#);
        sends(" /users", r#"{"type":"message","data":" /users"}"#);
        sends("//users", r#"{"type":"message","data":"/users"}"#);
        sends("//", r#"{"type":"message","data":"/"}"#);
    }

    #[test]
    fn commands_become_requests() {
        sends("/setname Kobzol", r#"{"type":"set-name","data":"Kobzol"}"#);
        sends(
            "/setname  Ann  Lee ",
            r#"{"type":"set-name","data":"Ann  Lee"}"#,
        );
        sends("/history", r#"{"type":"history","data":""}"#);
        sends("/users ", r#"{"type":"users","data":""}"#);
        assert_eq!(interpret("/quit", 20), Typed::Quit);
    }

    #[test]
    fn blank_lines_are_not_sent() {
        for blank in ["", " ", "\t \u{3000}"] {
            assert_eq!(interpret(blank, 20), Typed::Nothing, "{blank:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_explained() {
        refused("/serch", "The command \"/serch\" is unknown");
        refused("/", "unknown");
        refused("/Users", "unknown");
        refused("/setname", "/setname NAME");
        refused("/setname  ", "/setname NAME");
        refused("/history 5", "takes nothing");
        refused(&"é".repeat(11), "longer than 20 bytes");
        sends(
            &"é".repeat(10),
            &format!(r#"{{"type":"message","data":"{}"}}"#, "é".repeat(10)),
        );
    }

    #[test]
    fn help_names_every_command() {
        let Typed::Help(text) = interpret("/help", 20) else {
            panic!("no help")
        };
        for command in COMMANDS {
            assert!(
                text.contains(command.name) && text.contains(command.help),
                "{text}"
            );
        }
    }
}

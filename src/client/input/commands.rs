//! What a typed line means.
//!
//! What lives here: the one table of commands, which feeds dispatch, help, completion and errors
//! alike. The client's loop and the completion use it. It must never do anything: it says what is to be done.

use crate::chat::request::Nonce;
use crate::chat::sanitize::{is_blank, quoted};
use crate::client::session::request::UserRequest;

/// A command.
#[derive(Debug)]
struct CommandSpec {
    /// What is typed; the first is the one that is explained.
    names: &'static [&'static str],
    argument: Argument,
    completes: Completes,
    help: &'static str,
    action: Action,
}

/// What can be completed behind a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completes {
    /// Nothing.
    Nothing,
    /// The name of a command.
    Command,
    /// The name of a user.
    Name,
    /// The name of a user, in quotes where it has spaces, and then names in a text.
    NameAndText,
    /// Names in a text.
    Text,
    /// What narrows a search down.
    Search,
}

/// What follows a command.
#[derive(Clone, Copy, Debug)]
enum Argument {
    Nothing,
    Optional(&'static str),
    Needed(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Help,
    SetName,
    Users,
    History,
    Search,
    Private,
    Reply,
    Act,
    Ignore,
    Unignore,
    Mentions,
    Clear,
    Info,
    Reconnect,
    Quit,
}

const COMMANDS: [CommandSpec; 15] = [
    CommandSpec {
        names: &["/help"],
        argument: Argument::Optional("[COMMAND]"),
        completes: Completes::Command,
        help: "explain the commands, or one of them",
        action: Action::Help,
    },
    CommandSpec {
        names: &["/setname", "/nick"],
        argument: Argument::Needed("NAME"),
        completes: Completes::Nothing,
        help: "change your name",
        action: Action::SetName,
    },
    CommandSpec {
        names: &["/users"],
        argument: Argument::Nothing,
        completes: Completes::Nothing,
        help: "tell who is here",
        action: Action::Users,
    },
    CommandSpec {
        names: &["/history"],
        argument: Argument::Optional("[N]"),
        completes: Completes::Nothing,
        help: "replay the recent messages, or the last N of them",
        action: Action::History,
    },
    CommandSpec {
        names: &["/search"],
        argument: Argument::Needed("WORDS"),
        completes: Completes::Search,
        help: "find messages; \"several words\", from:NAME, after:2026-01-31 and before:2026-01-31 narrow it down",
        action: Action::Search,
    },
    CommandSpec {
        names: &["/msg"],
        argument: Argument::Needed("NAME TEXT"),
        completes: Completes::NameAndText,
        help: "say TEXT to NAME alone; a name with spaces stands in \"quotes\"",
        action: Action::Private,
    },
    CommandSpec {
        names: &["/reply"],
        argument: Argument::Needed("TEXT"),
        completes: Completes::Text,
        help: "say TEXT to the one who wrote to you alone last",
        action: Action::Reply,
    },
    CommandSpec {
        names: &["/me"],
        argument: Argument::Needed("TEXT"),
        completes: Completes::Text,
        help: "do something instead of saying it: /me waves",
        action: Action::Act,
    },
    CommandSpec {
        names: &["/ignore"],
        argument: Argument::Needed("NAME"),
        completes: Completes::Name,
        help: "show nothing more that NAME says",
        action: Action::Ignore,
    },
    CommandSpec {
        names: &["/unignore"],
        argument: Argument::Needed("NAME"),
        completes: Completes::Name,
        help: "show it again",
        action: Action::Unignore,
    },
    CommandSpec {
        names: &["/mentions"],
        argument: Argument::Nothing,
        completes: Completes::Nothing,
        help: "list who mentioned you or wrote to you alone (at a terminal)",
        action: Action::Mentions,
    },
    CommandSpec {
        names: &["/clear"],
        argument: Argument::Nothing,
        completes: Completes::Nothing,
        help: "empty the screen (at a terminal)",
        action: Action::Clear,
    },
    CommandSpec {
        names: &["/info"],
        argument: Argument::Nothing,
        completes: Completes::Nothing,
        help: "tell who you are, where you are connected, and how fast that is",
        action: Action::Info,
    },
    CommandSpec {
        names: &["/reconnect"],
        argument: Argument::Nothing,
        completes: Completes::Nothing,
        help: "connect anew, at once (with --reconnect)",
        action: Action::Reconnect,
    },
    CommandSpec {
        names: &["/quit"],
        argument: Argument::Nothing,
        completes: Completes::Nothing,
        help: "leave",
        action: Action::Quit,
    },
];

/// What is to be done about a typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Ask the server for this.
    Ask(UserRequest),
    /// Ask the server for this, under this nonce.
    AskWith(UserRequest, Nonce),
    /// Do nothing.
    Nothing,
    /// Show this; it was asked for.
    Help(String),
    /// Explain why nothing was sent.
    Refused(String),
    /// Say this to the one who wrote to us alone last.
    Reply(String),
    /// Show nothing more of this user (true), or show it again.
    Ignore(String, bool),
    /// List the mentions.
    Mentions,
    /// Empty the screen.
    Clear,
    /// Tell of the connection.
    Info,
    /// Connect anew.
    Reconnect,
    /// Leave.
    Quit,
}

/// What a typed line means, where messages may have so many bytes.
pub fn interpret(line: &str, max_message_bytes: usize) -> Command {
    if is_blank(line) {
        return Command::Nothing;
    }
    match line.strip_prefix('/') {
        None => say(line, false, max_message_bytes),
        Some(rest) if rest.starts_with('/') => say(rest, false, max_message_bytes),
        Some(_) => run_command(line, max_message_bytes),
    }
}

fn say(text: &str, action: bool, max_message_bytes: usize) -> Command {
    if text.len() > max_message_bytes {
        return Command::Refused(too_long(max_message_bytes));
    }
    Command::Ask(UserRequest::Say {
        text: text.to_owned(),
        action,
    })
}

/// Why a line cannot be said: it is too long.
pub fn too_long(max_message_bytes: usize) -> String {
    format!("The line is longer than {max_message_bytes} bytes and was not sent; say it in parts")
}

fn find(word: &str) -> Option<&'static CommandSpec> {
    COMMANDS
        .iter()
        .find(|command| command.names.contains(&word))
}

/// Names of commands that begin with this, in the order of the table.
pub fn beginning_with(beginning: &str) -> Vec<&'static str> {
    let all = COMMANDS.iter().flat_map(|command| command.names);
    all.copied()
        .filter(|name| name.starts_with(beginning))
        .collect()
}

/// What can be completed behind this command; nothing if there is none of this name.
pub fn completes(word: &str) -> Completes {
    find(word).map_or(Completes::Nothing, |command| command.completes)
}

/// Whether something has to follow this command.
pub fn takes_argument(word: &str) -> bool {
    find(word).is_some_and(|command| !matches!(command.argument, Argument::Nothing))
}

fn run_command(line: &str, max_message_bytes: usize) -> Command {
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let Some(command) = find(word) else {
        return Command::Refused(unknown(word));
    };
    match (command.argument, argument.is_empty()) {
        (Argument::Needed(needed), true) => {
            return Command::Refused(format!("{word} needs something after it: {word} {needed}"));
        }
        (Argument::Nothing, false) => {
            return Command::Refused(format!("{word} takes nothing after it"));
        }
        _ => {}
    }
    match command.action {
        Action::Help => help(argument),
        Action::SetName => Command::Ask(UserRequest::SetName(argument.to_owned())),
        Action::Users => Command::Ask(UserRequest::Users),
        Action::History => history(word, argument),
        Action::Search => Command::Ask(UserRequest::Search(argument.to_owned())),
        Action::Private => private(word, argument, max_message_bytes),
        Action::Reply => reply(argument, max_message_bytes),
        Action::Act => say(argument, true, max_message_bytes),
        Action::Ignore => Command::Ignore(argument.to_owned(), true),
        Action::Unignore => Command::Ignore(argument.to_owned(), false),
        Action::Mentions => Command::Mentions,
        Action::Clear => Command::Clear,
        Action::Info => Command::Info,
        Action::Reconnect => Command::Reconnect,
        Action::Quit => Command::Quit,
    }
}

fn history(word: &str, argument: &str) -> Command {
    if argument.is_empty() {
        return Command::Ask(UserRequest::History(None));
    }
    match argument.parse() {
        Ok(count) if count > 0 => Command::Ask(UserRequest::History(Some(count))),
        _ => Command::Refused(format!(
            "{word} cannot replay {} messages: it takes a number from 1, or nothing",
            quoted(argument)
        )),
    }
}

fn private(word: &str, argument: &str, max_message_bytes: usize) -> Command {
    let (target, text) = match argument
        .strip_prefix('"')
        .and_then(|rest| rest.split_once('"'))
    {
        Some((target, text)) => (target, text),
        None => argument
            .split_once(char::is_whitespace)
            .unwrap_or((argument, "")),
    };
    let (target, text) = (target.trim(), text.trim());
    if target.is_empty() || text.is_empty() {
        return Command::Refused(format!("{word} needs a name and a text: {word} NAME TEXT"));
    }
    if text.len() > max_message_bytes {
        return Command::Refused(too_long(max_message_bytes));
    }
    Command::Ask(UserRequest::Private {
        target: target.to_owned(),
        text: text.to_owned(),
    })
}

fn reply(text: &str, max_message_bytes: usize) -> Command {
    match text.len() > max_message_bytes {
        true => Command::Refused(too_long(max_message_bytes)),
        false => Command::Reply(text.to_owned()),
    }
}

/// Why an unknown command was not sent, with the one that was meant.
fn unknown(word: &str) -> String {
    let all = COMMANDS.iter().flat_map(|command| command.names);
    let lower = word.to_lowercase();
    let distance = |name: &&&str| strsim::damerau_levenshtein(name, &lower);
    let nearest = all.min_by_key(distance);
    // In a short word a mistake leaves nothing to guess by.
    let allowed = MAX_TYPING_MISTAKES.min(word.chars().count() / 2);
    let meant = nearest.filter(|name| distance(name) <= allowed);
    let advice = match meant {
        Some(name) => format!("did you mean {name}?"),
        None => format!("the commands are {}, and //x says /x", names()),
    };
    format!(
        "The command {} is unknown and was not sent; {advice}",
        quoted(word)
    )
}

/// Mistakes in a word that still tell what was meant.
const MAX_TYPING_MISTAKES: usize = 2;

fn names() -> String {
    let names = COMMANDS.iter().map(|command| command.names[0]);
    names.collect::<Vec<_>>().join(", ")
}

fn usage(command: &CommandSpec) -> String {
    let name = command.names[0];
    match command.argument {
        Argument::Nothing => name.to_owned(),
        Argument::Optional(argument) | Argument::Needed(argument) => format!("{name} {argument}"),
    }
}

fn explanation(command: &CommandSpec) -> String {
    let also = match command.names {
        [_, others @ ..] if !others.is_empty() => format!(" (also {})", others.join(", ")),
        _ => String::new(),
    };
    format!("{:<20}{}{also}", usage(command), command.help)
}

/// The commands with their explanations, a line each, or one of them.
fn help(word: &str) -> Command {
    if !word.is_empty() {
        let name = format!("/{}", word.trim_start_matches('/'));
        return match find(&name) {
            Some(command) => Command::Help(explanation(command)),
            None => Command::Refused(unknown(&name)),
        };
    }
    let mut lines: Vec<String> = COMMANDS.iter().map(explanation).collect();
    lines.push(format!(
        "{:<20}say /x; any line without / at its beginning is said as it is",
        "//x"
    ));
    Command::Help(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(line: &str, expected: UserRequest) {
        assert_eq!(interpret(line, 20), Command::Ask(expected), "{line:?}");
    }

    fn says(line: &str, text: &str) {
        let (text, action) = (text.to_owned(), false);
        asks(line, UserRequest::Say { text, action });
    }

    fn refused(line: &str, part: &str) {
        match interpret(line, 20) {
            Command::Refused(sentence) => assert!(sentence.contains(part), "{line:?}: {sentence}"),
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn lines_are_said_as_they_are() {
        says("hello", "hello");
        says(" a \"b\" ", " a \"b\" ");
        says(" /users", " /users");
        says("//users", "/users");
        says("//", "/");
        says(&"é".repeat(10), &"é".repeat(10));
    }

    #[test]
    fn commands_become_requests() {
        asks("/setname Kobzol", UserRequest::SetName("Kobzol".into()));
        asks("/nick  Ann  Lee ", UserRequest::SetName("Ann  Lee".into()));
        asks("/history", UserRequest::History(None));
        asks("/history 5", UserRequest::History(Some(5)));
        asks("/users ", UserRequest::Users);
        asks("/search from:al x", UserRequest::Search("from:al x".into()));
        let private = |target: &str, text: &str| UserRequest::Private {
            target: target.to_owned(),
            text: text.to_owned(),
        };
        asks("/msg bob hi there", private("bob", "hi there"));
        asks("/msg \"Ann Lee\" hi", private("Ann Lee", "hi"));
        asks("/msg \"bob hi", private("\"bob", "hi"));
        let act = UserRequest::Say {
            text: "waves".into(),
            action: true,
        };
        asks("/me waves", act);
        assert_eq!(interpret("/reply x", 20), Command::Reply("x".into()));
        assert_eq!(
            interpret("/ignore A b", 20),
            Command::Ignore("A b".into(), true)
        );
        assert_eq!(
            interpret("/unignore A", 20),
            Command::Ignore("A".into(), false)
        );
        assert_eq!(interpret("/mentions", 20), Command::Mentions);
        assert_eq!(interpret("/clear", 20), Command::Clear);
        assert_eq!(interpret("/info", 20), Command::Info);
        assert_eq!(interpret("/reconnect", 20), Command::Reconnect);
        assert_eq!(interpret("/quit", 20), Command::Quit);
    }

    #[test]
    fn blank_lines_are_not_sent() {
        for blank in ["", " ", "\t \u{3000}"] {
            assert_eq!(interpret(blank, 20), Command::Nothing, "{blank:?}");
        }
    }

    #[test]
    fn what_cannot_be_done_is_explained() {
        refused(
            "/serch",
            "\"/serch\" is unknown and was not sent; did you mean /search?",
        );
        refused("/Users", "did you mean /users?");
        refused("/", "the commands are /help, ");
        refused("/weather", "the commands are /help, ");
        refused("/help weather", "unknown");
        refused("/setname", "/setname NAME");
        refused("/nick  ", "/nick NAME");
        refused("/users 5", "takes nothing");
        refused("/history x", "a number from 1");
        refused("/history 0", "a number from 1");
        refused("/msg bob", "/msg NAME TEXT");
        refused("/msg \"\" x", "/msg NAME TEXT");
        for line in ["", "/me ", "/reply ", "/msg bob "] {
            refused(&format!("{line}{}", "é".repeat(11)), "longer than 20 bytes");
        }
    }

    #[test]
    fn help_explains_every_command() {
        let Command::Help(text) = interpret("/help", 20) else {
            panic!("no help")
        };
        for command in COMMANDS {
            for name in command.names {
                assert!(text.contains(name) && text.contains(command.help), "{text}");
                let Command::Help(one) = interpret(&format!("/help {name}"), 20) else {
                    panic!("no help for {name}")
                };
                assert!(one.contains(command.help), "{one}");
            }
        }
        assert_eq!(interpret("/help nick", 20), interpret("/help /setname", 20));
    }
}

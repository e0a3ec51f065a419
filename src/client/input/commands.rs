//! Commands: one table for parsing, help, completion and errors.

use crate::chat::request::Nonce;
use crate::chat::sanitize::{is_blank, quoted};
use crate::client::session::request::UserRequest;

#[derive(Debug)]
struct CommandSpec {
    /// Names of the command; help lists the first one.
    names: &'static [&'static str],
    argument: Argument,
    help: &'static str,
    /// Makes the command of the name as typed, the argument, and the limit of a message in bytes.
    parse: fn(&str, &str, usize) -> Command,
}

/// What Tab completes in an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Completes {
    Nothing,
    Command,
    Name,
    /// A name, in quotes if it has spaces, followed by text.
    NameAndText,
    Text,
    Search,
}

#[derive(Clone, Copy, Debug)]
enum Argument {
    Nothing,
    Optional(&'static str, Completes),
    Required(&'static str, Completes),
}

const COMMANDS: [CommandSpec; 15] = [
    CommandSpec {
        names: &["/help"],
        argument: Argument::Optional("[COMMAND]", Completes::Command),
        help: "explain all commands, or one of them",
        parse: |_, command, _| help(command),
    },
    CommandSpec {
        names: &["/setname", "/nick"],
        argument: Argument::Required("NAME", Completes::Nothing),
        help: "change your name",
        parse: |_, name, _| request(UserRequest::SetName(name.to_owned())),
    },
    CommandSpec {
        names: &["/users"],
        argument: Argument::Nothing,
        help: "list the connected users",
        parse: |_, _, _| request(UserRequest::Users),
    },
    CommandSpec {
        names: &["/history"],
        argument: Argument::Optional("[N]", Completes::Nothing),
        help: "replay the recent messages, or the last N of them",
        parse: |word, count, _| history(word, count),
    },
    CommandSpec {
        names: &["/search"],
        argument: Argument::Required("WORDS", Completes::Search),
        help: "find messages; filters: \"several words\", from:NAME, after:2026-01-31, before:2026-01-31",
        parse: |_, query, _| request(UserRequest::Search(query.to_owned())),
    },
    CommandSpec {
        names: &["/msg"],
        argument: Argument::Required("NAME TEXT", Completes::NameAndText),
        help: "send TEXT to NAME alone; put a name with spaces in \"quotes\"",
        parse: private,
    },
    CommandSpec {
        names: &["/reply"],
        argument: Argument::Required("TEXT", Completes::Text),
        help: "answer the last private message",
        parse: |_, text, limit| within_limit(text, limit, Command::Reply),
    },
    CommandSpec {
        names: &["/me"],
        argument: Argument::Required("TEXT", Completes::Text),
        help: "send an action, such as /me waves",
        parse: |_, text, limit| say(text, true, limit),
    },
    CommandSpec {
        names: &["/ignore"],
        argument: Argument::Required("NAME", Completes::Name),
        help: "hide the messages of NAME",
        parse: |_, name, _| Command::SetIgnored(name.to_owned(), true),
    },
    CommandSpec {
        names: &["/unignore"],
        argument: Argument::Required("NAME", Completes::Name),
        help: "show the messages of NAME again",
        parse: |_, name, _| Command::SetIgnored(name.to_owned(), false),
    },
    CommandSpec {
        names: &["/mentions"],
        argument: Argument::Nothing,
        help: "list your mentions and private messages (terminal only)",
        parse: |_, _, _| Command::ListMentions,
    },
    CommandSpec {
        names: &["/clear"],
        argument: Argument::Nothing,
        help: "clear the screen (terminal only)",
        parse: |_, _, _| Command::Clear,
    },
    CommandSpec {
        names: &["/info"],
        argument: Argument::Nothing,
        help: "show your name, the server and the round-trip time",
        parse: |_, _, _| Command::Info,
    },
    CommandSpec {
        names: &["/reconnect"],
        argument: Argument::Nothing,
        help: "reconnect now (with --reconnect)",
        parse: |_, _, _| Command::Reconnect,
    },
    CommandSpec {
        names: &["/quit"],
        argument: Argument::Nothing,
        help: "leave",
        parse: |_, _, _| Command::Quit,
    },
];

/// Meaning of a typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A request to the server, under this nonce if there is one.
    Request(UserRequest, Option<Nonce>),
    /// A blank line.
    Nothing,
    /// Show this text.
    Help(String),
    /// Show this error; nothing is sent.
    Invalid(String),
    /// Send a text to the sender of the last private message.
    Reply(String),
    /// Hide (true) or show the messages of this user.
    SetIgnored(String, bool),
    ListMentions,
    Clear,
    Info,
    Reconnect,
    Quit,
}

/// Parses a line. Messages longer than `max_message_bytes` are invalid.
pub(crate) fn parse(line: &str, max_message_bytes: usize) -> Command {
    if is_blank(line) {
        return Command::Nothing;
    }
    match line.strip_prefix('/') {
        None => say(line, false, max_message_bytes),
        Some(rest) if rest.starts_with('/') => say(rest, false, max_message_bytes),
        Some(_) => parse_command(line, max_message_bytes),
    }
}

fn request(request: UserRequest) -> Command {
    Command::Request(request, None)
}

fn within_limit(text: &str, limit: usize, make: impl FnOnce(String) -> Command) -> Command {
    match text.len() > limit {
        true => Command::Invalid(too_long(limit)),
        false => make(text.to_owned()),
    }
}

fn say(text: &str, action: bool, limit: usize) -> Command {
    within_limit(text, limit, |text| {
        request(UserRequest::Say { text, action })
    })
}

/// Returns the error about a message that is too long.
pub(crate) fn too_long(max_message_bytes: usize) -> String {
    format!("The line is longer than {max_message_bytes} bytes and was not sent; split it")
}

fn find(word: &str) -> Option<&'static CommandSpec> {
    let mut commands = COMMANDS.iter();
    commands.find(|command| command.names.contains(&word))
}

fn all_names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|command| command.names).copied()
}

/// Returns the names of commands with this prefix, in the order of the table.
pub(crate) fn names_with_prefix(prefix: &str) -> Vec<&'static str> {
    all_names()
        .filter(|name| name.starts_with(prefix))
        .collect()
}

pub(crate) fn completes(word: &str) -> Completes {
    match find(word).map(|command| command.argument) {
        Some(Argument::Optional(_, completes) | Argument::Required(_, completes)) => completes,
        Some(Argument::Nothing) | None => Completes::Nothing,
    }
}

pub(crate) fn takes_argument(word: &str) -> bool {
    find(word).is_some_and(|command| !matches!(command.argument, Argument::Nothing))
}

fn parse_command(line: &str, limit: usize) -> Command {
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let Some(command) = find(word) else {
        return Command::Invalid(unknown_command(word));
    };
    match (command.argument, argument.is_empty()) {
        (Argument::Required(required, _), true) => {
            Command::Invalid(format!("{word} needs an argument: {word} {required}"))
        }
        (Argument::Nothing, false) => Command::Invalid(format!("{word} takes no argument")),
        _ => (command.parse)(word, argument, limit),
    }
}

fn history(word: &str, argument: &str) -> Command {
    if argument.is_empty() {
        return request(UserRequest::History(None));
    }
    match argument.parse() {
        Ok(count) if count > 0 => request(UserRequest::History(Some(count))),
        _ => Command::Invalid(format!(
            "{word} cannot replay {} messages: use a number from 1, or nothing",
            quoted(argument)
        )),
    }
}

fn private(word: &str, argument: &str, limit: usize) -> Command {
    let unquoted = argument.strip_prefix('"');
    let (target, text) = unquoted
        .and_then(|rest| rest.split_once('"'))
        .or_else(|| argument.split_once(char::is_whitespace))
        .unwrap_or((argument, ""));
    let (target, text) = (target.trim(), text.trim());
    if target.is_empty() || text.is_empty() {
        return Command::Invalid(format!("{word} needs a name and a text: {word} NAME TEXT"));
    }
    let target = target.to_owned();
    within_limit(text, limit, |text| {
        request(UserRequest::Private { target, text })
    })
}

/// Longest edit distance between a mistyped command and the suggested one.
const MAX_EDIT_DISTANCE: usize = 2;

fn unknown_command(word: &str) -> String {
    let lower = word.to_lowercase();
    let distance = |name: &&str| strsim::damerau_levenshtein(name, &lower);
    // A short word with two mistakes resembles many commands.
    let max_distance = MAX_EDIT_DISTANCE.min(word.chars().count() / 2);
    let nearest = all_names()
        .min_by_key(distance)
        .filter(|name| distance(name) <= max_distance);
    let advice = match nearest {
        Some(name) => format!("did you mean {name}?"),
        None => {
            let names = COMMANDS.map(|command| command.names[0]);
            format!("the commands are {}; //x sends /x", names.join(", "))
        }
    };
    let word = quoted(word);
    format!("The command {word} is unknown and was not sent; {advice}")
}

fn explanation(command: &CommandSpec) -> String {
    let usage = match command.argument {
        Argument::Nothing => command.names[0].to_owned(),
        Argument::Optional(argument, _) | Argument::Required(argument, _) => {
            format!("{} {argument}", command.names[0])
        }
    };
    let aliases = match command.names {
        [_, aliases @ ..] if !aliases.is_empty() => format!(" (also {})", aliases.join(", ")),
        _ => String::new(),
    };
    format!("{usage:<20}{}{aliases}", command.help)
}

/// Explains one command, or lists all of them if `word` is empty.
fn help(word: &str) -> Command {
    if !word.is_empty() {
        let name = format!("/{}", word.trim_start_matches('/'));
        return match find(&name) {
            Some(command) => Command::Help(explanation(command)),
            None => Command::Invalid(unknown_command(&name)),
        };
    }
    let mut lines: Vec<String> = COMMANDS.iter().map(explanation).collect();
    lines.push(format!(
        "{:<20}send /x; other lines without / are sent as they are",
        "//x"
    ));
    Command::Help(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say_request(text: &str, action: bool) -> Command {
        let text = text.to_owned();
        request(UserRequest::Say { text, action })
    }

    #[test]
    fn lines_without_command_are_messages() {
        let long = "é".repeat(10);
        for (line, text) in [
            ("hello", "hello"),
            (" a \"b\" ", " a \"b\" "),
            (" /users", " /users"),
            ("//users", "/users"),
            ("//", "/"),
            (&long, &long),
        ] {
            assert_eq!(parse(line, 20), say_request(text, false));
        }
        for blank in ["", " ", "\t \u{3000}"] {
            assert_eq!(parse(blank, 20), Command::Nothing, "{blank:?}");
        }
    }

    #[test]
    fn commands_are_parsed() {
        let private = |target: &str, text: &str| {
            let (target, text) = (target.to_owned(), text.to_owned());
            request(UserRequest::Private { target, text })
        };
        let set_name = |name: &str| request(UserRequest::SetName(name.to_owned()));
        for (line, command) in [
            ("/setname Kobzol", set_name("Kobzol")),
            ("/nick  Ann  Lee ", set_name("Ann  Lee")),
            ("/history", request(UserRequest::History(None))),
            ("/history 5", request(UserRequest::History(Some(5)))),
            ("/users ", request(UserRequest::Users)),
            (
                "/search from:al x",
                request(UserRequest::Search("from:al x".into())),
            ),
            ("/msg bob hi there", private("bob", "hi there")),
            ("/msg \"Ann Lee\" hi", private("Ann Lee", "hi")),
            ("/msg \"bob hi", private("\"bob", "hi")),
            ("/me waves", say_request("waves", true)),
            ("/reply x", Command::Reply("x".into())),
            ("/ignore A b", Command::SetIgnored("A b".into(), true)),
            ("/unignore A", Command::SetIgnored("A".into(), false)),
            ("/mentions", Command::ListMentions),
            ("/clear", Command::Clear),
            ("/info", Command::Info),
            ("/reconnect", Command::Reconnect),
            ("/quit", Command::Quit),
        ] {
            assert_eq!(parse(line, 20), command, "{line}");
        }
    }

    #[test]
    fn invalid_commands_are_explained() {
        let long = "é".repeat(11);
        let too_long =
            ["", "/me ", "/reply ", "/msg bob "].map(|command| format!("{command}{long}"));
        let too_long = too_long
            .iter()
            .map(|line| (line.as_str(), "longer than 20 bytes"));
        let others = [
            (
                "/serch",
                "\"/serch\" is unknown and was not sent; did you mean /search?",
            ),
            ("/Users", "did you mean /users?"),
            ("/", "the commands are /help, "),
            ("/weather", "the commands are /help, "),
            ("/help weather", "unknown"),
            ("/setname", "/setname NAME"),
            ("/nick  ", "/nick NAME"),
            ("/users 5", "takes no argument"),
            ("/history x", "a number from 1"),
            ("/history 0", "a number from 1"),
            ("/msg bob", "/msg NAME TEXT"),
            ("/msg \"\" x", "/msg NAME TEXT"),
        ];
        for (line, part) in others.into_iter().chain(too_long) {
            match parse(line, 20) {
                Command::Invalid(error) => assert!(error.contains(part), "{line}: {error}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn help_explains_every_command() {
        let Command::Help(text) = parse("/help", 20) else {
            panic!("no help")
        };
        for command in COMMANDS {
            for name in command.names {
                assert!(text.contains(name) && text.contains(command.help), "{text}");
                let Command::Help(one) = parse(&format!("/help {name}"), 20) else {
                    panic!("no help for {name}")
                };
                assert!(one.contains(command.help), "{one}");
            }
        }
        assert_eq!(parse("/help nick", 20), parse("/help /setname", 20));
    }
}

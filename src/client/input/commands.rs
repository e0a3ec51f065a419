//! Commands: the text of the help is the table for parsing and errors.

use crate::chat::request::Nonce;
use crate::chat::sanitize::{is_blank, quoted};
use crate::client::output::item::OutputItem;
use crate::client::session::request::UserRequest;

/// One command per line: its name, its argument, and its help from column [`HELP_COLUMN`] on. An
/// argument in brackets is optional.
const HELP: &str = "\
/help [COMMAND]     explain all commands, or one of them
/setname NAME       change your name (also /nick)
/users              list the connected users
/history [N]        replay the recent messages, or the last N of them
/search WORDS       find messages; filters: \"several words\", from:NAME, after:2026-01-31, before:2026-01-31
/msg NAME TEXT      send TEXT to NAME alone; put a name with spaces in \"quotes\"
/reply TEXT         answer the last private message
/me TEXT            send an action, such as /me waves
/ignore NAME        hide the messages of NAME
/unignore NAME      show the messages of NAME again
/mentions           list your mentions and private messages (terminal only)
/clear              clear the screen (terminal only)
/info               show your name, the server and the round-trip time
/reconnect          reconnect now (with --reconnect)
/quit               leave";

const SLASH_HELP: &str = "//x                 send /x; other lines without / are sent as they are";

const HELP_COLUMN: usize = 20;

const ALIASES: [(&str, &str); 1] = [("/nick", "/setname")];

/// Meaning of a typed line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// A request to the server, under this nonce if there is one.
    Request(UserRequest, Option<Nonce>),
    /// A blank line.
    Nothing,
    Help(String),
    /// Show this error; nothing is sent.
    Invalid(String),
    /// Send a text to the sender of the last private message.
    Reply(String),
    /// Hide (true) or show the messages of this user.
    SetIgnored(String, bool),
    /// Show this in a terminal.
    Show(OutputItem),
    Info,
    Reconnect,
    Quit,
    /// Leave with this error, because the input cannot be read.
    EndWith(String),
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

/// Returns whether a line is rejected for its length.
pub(crate) fn is_too_long(line: &str, max_message_bytes: usize) -> bool {
    let sentence = too_long(max_message_bytes);
    matches!(parse(line, max_message_bytes), Command::Invalid(why) if why == sentence)
}

pub(crate) fn too_long(max_message_bytes: usize) -> String {
    format!("The line is longer than {max_message_bytes} bytes and was not sent; split it")
}

/// Returns the line of a command in the help.
fn find(word: &str) -> Option<&'static str> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == word);
    let word = alias.map_or(word, |(_, name)| name);
    HELP.lines().find(|line| name_of(line) == word)
}

fn name_of(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// Splits a line of the help into the command and its explanation.
pub(crate) fn command_and_help(line: &str) -> (&str, &str) {
    line.split_at_checked(HELP_COLUMN).unwrap_or((line, ""))
}

fn argument_of(line: &'static str) -> &'static str {
    line[name_of(line).len()..HELP_COLUMN].trim()
}

/// Returns the names of commands with this prefix, in the order of the help.
pub(crate) fn names_with_prefix(prefix: &str) -> impl Iterator<Item = &'static str> {
    let names = HELP.lines().flat_map(|line| {
        let name = name_of(line);
        let aliases = ALIASES.iter().filter(move |(_, of)| *of == name);
        std::iter::once(name).chain(aliases.map(|(alias, _)| *alias))
    });
    names.filter(move |name| name.starts_with(prefix))
}

/// Returns whether a line is for one user alone, or may be a mistyped one of those.
pub(crate) fn is_private(line: &str) -> bool {
    let word = line.split(char::is_whitespace).next().unwrap_or_default();
    let is_command = word.starts_with('/') && !word.starts_with("//");
    is_command && find(word).is_none_or(|help| matches!(name_of(help), "/msg" | "/reply"))
}

pub(crate) fn takes_argument(word: &str) -> bool {
    find(word).is_some_and(|line| !argument_of(line).is_empty())
}

fn parse_command(line: &str, limit: usize) -> Command {
    let (word, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let argument = argument.trim();
    let Some(help_line) = find(word) else {
        return Command::Invalid(unknown_command(word));
    };
    match (argument_of(help_line), argument) {
        ("", "") => {}
        ("", _) => return Command::Invalid(format!("{word} takes no argument")),
        (wanted, "") if !wanted.starts_with('[') => {
            let sentence = format!("{word} needs an argument: {word} {wanted}");
            return Command::Invalid(sentence);
        }
        _ => {}
    }
    let text = argument.to_owned();
    match name_of(help_line) {
        "/help" => help(argument),
        "/setname" => request(UserRequest::SetName(text)),
        "/users" => request(UserRequest::Users),
        "/history" => history(word, argument),
        "/search" => request(UserRequest::Search(text)),
        "/msg" => private(word, argument, limit),
        "/reply" => within_limit(argument, limit, Command::Reply),
        "/me" => say(argument, true, limit),
        "/ignore" => Command::SetIgnored(text, true),
        "/unignore" => Command::SetIgnored(text, false),
        "/mentions" => Command::Show(OutputItem::ListMentions),
        "/clear" => Command::Show(OutputItem::Clear),
        "/info" => Command::Info,
        "/reconnect" => Command::Reconnect,
        "/quit" => Command::Quit,
        _ => Command::Invalid(unknown_command(word)),
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
    let nearest = names_with_prefix("/")
        .min_by_key(distance)
        .filter(|name| distance(name) <= max_distance);
    let advice = match nearest {
        Some(name) => format!("did you mean {name}?"),
        None => {
            let names: Vec<&str> = HELP.lines().map(name_of).collect();
            format!("the commands are {}; //x sends /x", names.join(", "))
        }
    };
    let word = quoted(word);
    format!("The command {word} is unknown and was not sent; {advice}")
}

/// Explains one command, or lists all of them if `word` is empty.
fn help(word: &str) -> Command {
    if word.is_empty() {
        return Command::Help(format!("{HELP}\n{SLASH_HELP}"));
    }
    let name = format!("/{}", word.trim_start_matches('/'));
    match find(&name) {
        Some(line) => Command::Help(line.to_owned()),
        None => Command::Invalid(unknown_command(&name)),
    }
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
            ("/mentions", Command::Show(OutputItem::ListMentions)),
            ("/clear", Command::Show(OutputItem::Clear)),
            ("/info", Command::Info),
            ("/reconnect", Command::Reconnect),
            ("/quit", Command::Quit),
        ] {
            assert_eq!(parse(line, 20), command, "{line}");
        }
    }

    #[test]
    fn invalid_commands_are_explained() {
        for (line, part) in [
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
            ("ééééééééééé", "longer than 20 bytes"),
            ("/me ééééééééééé", "longer than 20 bytes"),
            ("/reply ééééééééééé", "longer than 20 bytes"),
            ("/msg bob ééééééééééé", "longer than 20 bytes"),
        ] {
            match parse(line, 20) {
                Command::Invalid(error) => assert!(error.contains(part), "{line}: {error}"),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn private_lines_are_told_from_others() {
        for line in [
            "/msg al x",
            "/reply x",
            "/msg",
            "/mgs al x",
            "/Msg al x",
            "/",
        ] {
            assert!(is_private(line), "{line}");
        }
        for line in [
            "x",
            "//msg al x",
            " /msg al x",
            "/me x",
            "/nick al",
            "/quit",
        ] {
            assert!(!is_private(line), "{line}");
        }
    }

    #[test]
    fn every_command_has_help() {
        assert!(matches!(parse("/help", 20), Command::Help(text) if text.contains(HELP)));
        assert_eq!(parse("/help nick", 20), parse("/help /setname", 20));
        for line in HELP.lines() {
            let name = name_of(line);
            assert!(line.is_char_boundary(HELP_COLUMN) && &line[HELP_COLUMN - 1..][..1] == " ");
            assert_eq!(
                parse(&format!("/help {name}"), 20),
                Command::Help(line.into())
            );
        }
    }
}

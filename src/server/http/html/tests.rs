use super::*;
use crate::chat::username::Username;
use jiff::Timestamp;

fn assets() -> AssetUrls {
    AssetUrls {
        style: "/style-1.css".into(),
        script: "/app-2.js".into(),
        icon: "/icon-3.svg".into(),
    }
}

fn message(time: &str, author: &str, text: &str) -> Message {
    let time = time.parse().unwrap();
    Message::new(7, time, Username::from_stored(author), text.into())
}

fn snapshot(users: &[&str], messages: Vec<Message>) -> Snapshot {
    let user = |name: &&str| PresentUser {
        name: Username::from_stored(name),
        since: Timestamp::UNIX_EPOCH,
    };
    Snapshot {
        epoch: "e\"1".into(),
        last: 42,
        users: users.iter().map(user).collect(),
        messages: messages.into_iter().map(Arc::new).collect(),
        older: 0,
        notice: None,
    }
}

fn page(users: &[&str], messages: Vec<Message>) -> String {
    render(&snapshot(users, messages), &assets(), false)
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    escape(&mut out, text);
    out
}

#[test]
fn notices_and_actions_are_shown() {
    let action = Message {
        action: true,
        ..message("2026-08-20T09:41:12.345Z", "alice", "waves")
    };
    let mut snapshot = snapshot(&[], vec![action]);
    let page = render(&snapshot, &assets(), false);
    assert!(page.contains(" action\"><a "), "{page}");
    assert!(page.contains("role=\"alert\" hidden></p>"), "{page}");
    snapshot.notice = Some("no <disk>".into());
    let page = render(&snapshot, &assets(), false);
    let notice = "role=\"alert\">no &lt;disk&gt;</p>";
    assert!(page.contains(notice), "{page}");
}

#[test]
fn every_token_of_the_template_has_a_value() {
    let page = page(&[], Vec::new());
    assert!(!page.contains("{{"), "{page}");
    assert!(page.contains("href=\"/style-1.css\""));
    assert!(page.contains("src=\"/app-2.js\""));
    assert!(page.contains("href=\"/icon-3.svg\""));
    assert!(page.contains("data-epoch=\"e&quot;1\" data-last=\"42\""));
}

#[test]
fn template_obeys_the_content_security_policy() {
    for forbidden in [
        "<style",
        " style=",
        " onclick",
        " onload",
        "javascript:",
        "//",
    ] {
        assert!(!TEMPLATE.contains(forbidden), "{forbidden}");
    }
    assert_eq!(TEMPLATE.matches("<script").count(), 1);
    assert!(TEMPLATE.contains("<script type=\"module\" src=\"{{script}}\"></script>"));
}

#[test]
fn empty_chat_says_so() {
    let page = page(&[], Vec::new());
    assert!(page.contains("class=\"count\">0</span>"));
    assert!(page.contains("<li class=\"empty\">No users</li>"));
    assert!(page.contains("<li class=\"empty\">No messages yet."));
    assert!(!page.contains("class=\"day\""));
}

#[test]
fn users_are_listed_and_counted() {
    let page = page(&["alice", "127.0.0.1:50112"], Vec::new());
    assert!(page.contains("class=\"count\">2</span>"));
    assert!(page.contains("<bdi>alice</bdi></li>\n<li class=\"hue-"));
    assert!(page.contains("<bdi>127.0.0.1:50112</bdi>"));
    assert!(!page.contains("No users"));
}

#[test]
fn each_list_has_a_hundred_users() {
    for (count, expected) in [
        (0, vec![0]),
        (1, vec![1]),
        (100, vec![100]),
        (201, vec![100, 100, 1]),
    ] {
        let mut lists = String::new();
        write_users(&mut lists, &snapshot(&vec!["alice"; count], vec![]).users);
        assert_eq!(lists.matches("<ul ").count(), expected.len());
        let users = |list: &str| list.matches("alice").count();
        let found: Vec<_> = lists.split_terminator("</ul>").map(users).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn hostile_names_and_messages_stay_text() {
    let hostile = "</script><img src=x onerror=\"alert('1')\">&amp;";
    let safe = "&lt;/script&gt;&lt;img src=x onerror=&quot;alert(&#39;1&#39;)&quot;&gt;&amp;amp;";
    let messages = vec![message("2026-08-20T09:41:00Z", hostile, hostile)];
    let page = page(&[hostile], messages);
    assert_eq!(page.matches(safe).count(), 3);
    assert!(!page.contains("<img src=x"));
    assert_eq!(page.matches("</script>").count(), 1);
}

#[test]
fn tokens_in_names_and_messages_are_not_expanded() {
    let text = "{{users}} {{ {{last}}";
    let messages = vec![message("2026-08-20T09:41:00Z", "{{epoch}}", text)];
    let page = page(&["{{messages}}"], messages);
    assert!(page.contains("<bdi>{{messages}}</bdi>"));
    assert!(page.contains(">{{epoch}}</bdi>"));
    assert!(page.contains(">{{users}} {{ {{last}}</span>"));
}

#[test]
fn unknown_and_unfinished_tokens_stay() {
    let value = |token: &str| (token == "a").then_some(TokenValue::Text("{{a}}<"));
    assert_eq!(fill("{{a}} {{b}} {{a", 0, value), "{{a}}&lt; {{b}} {{a");
    assert_eq!(fill("", 0, value), "");
}

#[test]
fn escaping_changes_markup_characters_only() {
    assert_eq!(escaped("a\tb\nc\r\nd"), "a\tb\nc&#13;\nd");
    assert_eq!(escaped("<>&\"'"), "&lt;&gt;&amp;&quot;&#39;");
    assert_eq!(escaped("שלום é 👩‍🚀"), "שלום é 👩‍🚀");
    assert_eq!(escaped(""), "");
}

#[test]
fn message_row_has_time_author_and_text() {
    let page = page(
        &[],
        vec![message("2026-08-20T09:41:12.3456Z", "alice", "a\nb")],
    );
    let row = format!(
        "<li id=\"m7\" class=\"line message hue-{}\"><a class=\"time\" href=\"/m/7\"><time datetime=\"2026-08-20T09:41:12.345Z\">09:41</time></a> \
         <bdi class=\"author\">alice</bdi><span class=\"colon\">: </span>\
         <span class=\"text\" dir=\"auto\">a\nb</span></li>\n",
        hue("alice")
    );
    assert!(page.contains(&row), "{page}");
}

#[test]
fn history_page_links_to_older_messages_and_to_the_live_page() {
    let snapshot = snapshot(&[], vec![message("2026-08-20T09:41:00Z", "alice", "found")]);
    let view = HistoryView {
        messages: &snapshot.messages,
        query: Some("a \"b\" & c"),
        has_older: true,
        marked: Some(7),
    };
    let page = render_history(&snapshot, &assets(), &view);
    assert!(page.contains("<body data-kind=\"history\">"), "{page}");
    assert!(
        page.contains(
            "<p class=\"older\"><a rel=\"prev\" href=\"/?q=a+%22b%22+%26+c&amp;before=7\">"
        )
    );
    assert!(page.contains("value=\"a &quot;b&quot; &amp; c\""));
    assert!(page.contains("<a href=\"/\">Back to the live chat</a>"));
    assert!(page.contains(" marked\"><a class=\"time\" href=\"/m/7\">"));
    let nothing = HistoryView {
        messages: &[],
        query: None,
        ..view
    };
    let page = render_history(&snapshot, &assets(), &nothing);
    assert!(page.contains("<li class=\"empty\">No messages found.</li>"));
    assert!(!page.contains("class=\"older\""));
}

#[test]
fn each_day_has_a_heading() {
    let messages = vec![
        message("2026-08-20T23:59:59.999Z", "alice", "late"),
        message("2026-08-21T00:00:00Z", "alice", "early"),
        message("2026-08-21T00:00:01Z", "alice", "soon"),
    ];
    let page = page(&[], messages);
    assert_eq!(page.matches("class=\"day\"").count(), 2);
    assert!(page.contains("<h3>Thursday 20 August 2026 (UTC)</h3>"));
    assert!(page.contains("<h3>Friday 21 August 2026 (UTC)</h3>"));
    // A group does not continue after midnight.
    assert_eq!(page.matches(" same-author").count(), 1);
}

#[test]
fn rows_of_one_author_are_grouped() {
    let messages = [
        ("2026-08-20T09:41:00Z", "alice", ""),
        ("2026-08-20T09:41:59Z", "alice", " same-author same-minute"),
        ("2026-08-20T09:42:00Z", "alice", " same-author"),
        ("2026-08-20T09:42:01Z", "bob", ""),
        ("2026-08-20T10:42:01Z", "bob", " same-author"),
        ("2026-08-20T10:42:02Z", "alice", ""),
    ];
    let rows = messages.map(|(time, author, _)| message(time, author, "x"));
    let mut out = String::new();
    write_rows(&mut out, &rows.map(Arc::new), None);
    let rows = out.lines().filter(|row| row.contains("class=\"line"));
    for (row, (time, author, classes)) in rows.zip(messages) {
        let class = format!("class=\"line message hue-{}{classes}\">", hue(author));
        assert!(row.contains(&class), "{time}: {row}");
    }
}

#[test]
fn hues_match_the_script() {
    // FNV-1a, 32 bits: its published test values, modulo 12.
    assert_eq!(hue(""), 0x811c_9dc5 % 12);
    assert_eq!(hue("a"), 0xe40c_292c % 12);
    assert_eq!(hue("foobar"), 0xbf9c_f968 % 12);
}

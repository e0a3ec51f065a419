//! The files of `web/`, compiled into the program.
//!
//! All files are prepared once: comment lines and indentation are removed, the modules of the
//! script are joined in one file, and each file is compressed.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// A file to which the page refers.
#[derive(Debug)]
pub(super) struct Asset {
    /// The path, which changes with the content.
    pub(super) url: String,
    pub(super) media_type: &'static str,
    pub(super) content: Vec<u8>,
    /// The content compressed with gzip.
    pub(super) compressed: Vec<u8>,
}

/// All files of the page.
#[derive(Debug)]
pub(super) struct Assets {
    pub(super) style: Asset,
    /// The modules of the script.
    pub(super) script: Asset,
    pub(super) icon: Asset,
}

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The modules of the script, each after those that it imports.
const MODULES: [(&str, &str); 15] = [
    ("text", include_str!("../../../web/text.js")),
    ("dom", include_str!("../../../web/dom.js")),
    (
        "notifications",
        include_str!("../../../web/notifications.js"),
    ),
    ("answer", include_str!("../../../web/answer.js")),
    ("api", include_str!("../../../web/api.js")),
    ("profile", include_str!("../../../web/profile.js")),
    ("users", include_str!("../../../web/users.js")),
    ("lines", include_str!("../../../web/lines.js")),
    ("messages", include_str!("../../../web/messages.js")),
    ("stream", include_str!("../../../web/stream.js")),
    ("composer", include_str!("../../../web/composer.js")),
    ("send_queue", include_str!("../../../web/send_queue.js")),
    ("session", include_str!("../../../web/session.js")),
    ("commands", include_str!("../../../web/commands.js")),
    ("app", include_str!("../../../web/app.js")),
];

impl Assets {
    pub(super) fn prepare() -> Self {
        Assets {
            style: Asset::new("style", "css", CSS, include_str!("../../../web/style.css")),
            script: Asset::new("app", "js", SCRIPT, &bundle(&MODULES)),
            icon: Asset::new("icon", "svg", SVG, include_str!("../../../web/icon.svg")),
        }
    }

    pub(super) fn all(&self) -> [&Asset; 3] {
        [&self.style, &self.script, &self.icon]
    }
}

impl Asset {
    /// Prepares a file. Browsers can cache it forever, since its path has a hash of its content.
    fn new(stem: &str, ending: &str, media_type: &'static str, content: &str) -> Self {
        let content = without_comments(content).into_bytes();
        Asset {
            url: format!("/{stem}-{:016x}.{ending}", fnv1a(&content)),
            media_type,
            compressed: gzip(&content, Compression::best()),
            content,
        }
    }
}

/// Joins modules in one script, which needs one request and compresses better than single files.
///
/// Each module becomes a function that returns its exports, so that its other names stay private.
/// An import or an export has to start a line, and an import has to end on it.
fn bundle(modules: &[(&str, &str)]) -> String {
    let mut script = String::new();
    for (name, content) in modules {
        let mut exports = Vec::new();
        script.push_str(&format!("const ${name} = (() => {{\n"));
        for line in content.lines() {
            if let Some(import) = line.strip_prefix("import ") {
                script.push_str(&import_statement(import));
            } else if let Some(declaration) = line.strip_prefix("export ") {
                exports.push(declared_name(declaration));
                script.push_str(declaration);
            } else {
                script.push_str(line);
            }
            script.push('\n');
        }
        script.push_str(&format!("return {{ {} }};\n}})();\n", exports.join(", ")));
    }
    script
}

/// Converts `{ a, b } from './users.js';` or `* as users from './users.js';` to a declaration.
fn import_statement(import: &str) -> String {
    let (names, file) = import.split_once(" from './").unwrap_or((import, ""));
    let names = names.trim_start_matches("* as ");
    format!("const {names} = ${};", file.trim_end_matches(".js';"))
}

/// Returns the name that a declaration of a constant or a function introduces.
fn declared_name(declaration: &str) -> &str {
    declaration
        .split(|character: char| !(character.is_alphanumeric() || character == '_'))
        .find(|word| !matches!(*word, "async" | "const" | "function"))
        .unwrap_or_default()
}

/// Removes comment lines and indentation. No string in the files of the page spans lines, so only
/// the first characters of a line matter.
fn without_comments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        is_inside |= line.starts_with("/*");
        if is_inside {
            is_inside = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// Hashes content with 64-bit FNV-1a, which is not secure against collisions.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

pub(super) fn gzip(content: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), level);
    // Writing to memory cannot fail.
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http::html;

    #[test]
    fn bundle_keeps_the_names_of_modules_apart() {
        let first = "export const one = 1;\nexport async function two() {\n}\nconst three = 3;\n";
        let second =
            "import { one, two } from './first.js';\nimport * as first from './first.js';\n";
        let bundled = "const $first = (() => {\nconst one = 1;\nasync function two() {\n}\nconst three = 3;\n\
                       return { one, two };\n})();\n\
                       const $second = (() => {\nconst { one, two } = $first;\nconst first = $first;\n\
                       return {  };\n})();\n";
        assert_eq!(bundle(&[("first", first), ("second", second)]), bundled);
    }

    #[test]
    fn modules_follow_their_imports() {
        let script = bundle(&MODULES);
        assert!(!script.contains("import ") && !script.contains("export "));
        let mut before = Vec::new();
        for (name, content) in MODULES {
            for line in content.lines().filter(|line| line.starts_with("import ")) {
                let file = line.split('\'').nth(1).unwrap();
                assert!(before.contains(&file.to_owned()), "{name}: {line}");
            }
            before.push(format!("./{name}.js"));
        }
    }

    #[test]
    fn only_comments_and_indentation_are_removed() {
        let text = "// one\n/** Two. */\n  let a = 'x // y'; // three\n\n/* four\n   five */\n  b { c: d } /* six */\n";
        let kept = "let a = 'x // y'; // three\nb { c: d } /* six */\n";
        assert_eq!(without_comments(text), kept);
    }

    #[test]
    fn page_and_files_are_small() {
        let assets = Assets::prepare();
        let page = gzip(html::TEMPLATE.as_bytes(), Compression::best()).len();
        let bytes: usize = assets
            .all()
            .into_iter()
            .map(|file| file.compressed.len())
            .sum();
        assert!(bytes + page < 26_000, "{bytes} and {page} bytes");
    }
}

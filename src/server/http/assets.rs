//! The files of `web/`, compiled into the program.
//!
//! What lives here: [`Assets`], each file under an address that changes with its content, as it is
//! and compressed. Both are made once, when the page starts. The routes hand them out, the page
//! refers to them. It must never read a file system, and never compress for a request.
//!
//! What only its writers need (lines that are comments, and indentation) is left out.
//!
//! The script's modules name each other as files (`./log.js`); here those names become addresses,
//! so a module's own address changes with those that it imports.

use crate::server::http::html::AssetUrls;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Its address: a path.
    pub url: String,
    /// What it is.
    pub mime: &'static str,
    /// As it is.
    pub content: Vec<u8>,
    /// Compressed with gzip.
    pub compressed: Vec<u8>,
}

/// All of them.
#[derive(Debug)]
pub struct Assets {
    files: Vec<Asset>,
    urls: AssetUrls,
}

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The script's modules: each after all that it imports.
const MODULES: [(&str, &str); 6] = [
    ("base", include_str!("../../../web/base.js")),
    ("people", include_str!("../../../web/people.js")),
    ("log", include_str!("../../../web/log.js")),
    ("link", include_str!("../../../web/link.js")),
    ("talk", include_str!("../../../web/talk.js")),
    ("app", include_str!("../../../web/app.js")),
];

impl Assets {
    /// Every file with its address, compressed.
    pub fn prepare() -> Self {
        let style = Asset::new("style", "css", CSS, include_str!("../../../web/style.css"));
        let icon = Asset::new("icon", "svg", SVG, include_str!("../../../web/icon.svg"));
        let mut modules: Vec<Asset> = Vec::new();
        for (stem, content) in MODULES {
            let mut content = content.to_owned();
            for (imported, module) in MODULES.iter().zip(&modules) {
                let name = format!("'./{}.js'", imported.0);
                content = content.replace(&name, &format!("'{}'", module.url));
            }
            modules.push(Asset::new(stem, "js", SCRIPT, &content));
        }
        let urls = AssetUrls {
            style: style.url.clone(),
            icon: icon.url.clone(),
            script: modules
                .last()
                .map(|app| app.url.clone())
                .unwrap_or_default(),
            modules: modules.iter().map(|module| module.url.clone()).collect(),
        };
        let mut files = vec![style, icon];
        files.append(&mut modules);
        Assets { files, urls }
    }

    /// Under which addresses the page finds them.
    pub fn urls(&self) -> &AssetUrls {
        &self.urls
    }

    /// The file at this address.
    pub fn find(&self, path: &str) -> Option<&Asset> {
        self.files.iter().find(|file| file.url == path)
    }

    /// The addresses of all.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|file| &*file.url)
    }
}

impl Asset {
    /// A file whose address changes with its content, so that browsers may keep it for ever.
    fn new(stem: &str, ending: &str, mime: &'static str, content: &str) -> Self {
        let content = without_comments(content).into_bytes();
        let hash = fnv1a(&content);
        Asset {
            url: format!("/{stem}-{hash:016x}.{ending}"),
            mime,
            compressed: compressed(&content),
            content,
        }
    }
}

/// A text without the lines that are nothing but comments, and without indentation. It knows
/// no more of a language than how a comment begins: the files of the page have no text that spans
/// lines.
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

/// The 64-bit hash of Fowler, Noll and Vo: it tells contents apart, nothing more.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn compressed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail; if it did, nothing would be better than a half.
    let written = encoder.write_all(content).and_then(|()| encoder.finish());
    written.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::http::html;
    use std::io::Read;

    #[test]
    fn modules_find_each_other_and_all_comes_compressed() {
        let assets = Assets::prepare();
        for file in &assets.files {
            let text = String::from_utf8(file.content.clone()).unwrap();
            assert!(!text.contains("'./"), "{} names a file", file.url);
            let imports = text.match_indices("from '/").map(|(at, _)| {
                let rest = &text[at + "from '".len()..];
                &rest[..rest.find('\'').unwrap()]
            });
            for import in imports {
                assert!(
                    assets.find(import).is_some(),
                    "{} imports {import}",
                    file.url
                );
            }
            let mut plain = Vec::new();
            let mut reader = flate2::read::GzDecoder::new(&file.compressed[..]);
            reader.read_to_end(&mut plain).unwrap();
            assert_eq!(plain, file.content);
        }
    }

    #[test]
    fn comments_are_left_out_and_nothing_else() {
        let text = "// one\n/** Two. */\n  let a = 'x // y'; // three\n\n/* four\n   five */\n  b { c: d } /* six */\n";
        let kept = "let a = 'x // y'; // three\nb { c: d } /* six */\n";
        assert_eq!(without_comments(text), kept);
    }

    #[test]
    fn all_of_it_is_small() {
        let assets = Assets::prepare();
        let page = compressed(html::TEMPLATE.as_bytes()).len();
        let bytes: usize = assets.files.iter().map(|file| file.compressed.len()).sum();
        assert!(bytes + page < 20_000, "{bytes} and {page} bytes");
    }
}

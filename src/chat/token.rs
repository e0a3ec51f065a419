//! Session tokens and their hashes. Only the client and the line to it hold a token.

use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

pub(crate) const TOKEN_BYTES: usize = 16;

/// Separates hashes of browser tokens from those of TCP clients. Stored hashes contain it.
const BROWSER_PREFIX: &[u8] = b"smolchat page ";

/// A secret of 128 bits, written as 32 hexadecimal digits. `Debug` does not reveal it.
#[derive(Clone)]
pub struct Token([u8; TOKEN_BYTES]);

impl Token {
    /// Makes a token of random bytes.
    pub fn new(random: [u8; TOKEN_BYTES]) -> Self {
        Token(random)
    }

    /// Parses 32 lowercase hexadecimal digits.
    pub fn parse(text: &str) -> Option<Token> {
        let digits = text.as_bytes();
        if digits.len() != 2 * TOKEN_BYTES {
            return None;
        }
        let mut bytes = [0; TOKEN_BYTES];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Token(bytes))
    }

    /// Parses a token. Any other text gives a token that no session has.
    pub(crate) fn parse_or_unknown(text: &str) -> Token {
        Token::parse(text).unwrap_or_else(|| {
            let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
            let mut bytes = [0; TOKEN_BYTES];
            bytes.copy_from_slice(&digest[..TOKEN_BYTES]);
            Token(bytes)
        })
    }

    /// Returns the text for the wire.
    pub fn secret(&self) -> String {
        self.0.map(|byte| format!("{byte:02x}")).concat()
    }

    /// Returns the hash by which the server knows the session of a TCP client.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.0).into())
    }

    /// Returns the hash by which the server knows the session of a browser. A cookie is not valid
    /// as a token of a TCP client, nor the reverse.
    pub fn browser_hash(&self) -> TokenHash {
        let digest = Sha256::new_with_prefix(BROWSER_PREFIX).chain_update(self.0);
        TokenHash(digest.finalize().into())
    }
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(secret)")
    }
}

/// The SHA-256 of a token, compared in constant time.
#[derive(Clone, Copy)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Restores a stored hash.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        TokenHash(bytes)
    }

    /// Returns all 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns a lookup key. A match must still be compared as a whole.
    pub fn prefix(&self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for TokenHash {}

impl fmt::Debug for TokenHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_written_and_parsed_and_never_shown() {
        let token = Token::new([0xa0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff]);
        let written = "a00102030405060708090a0b0c0d0eff";
        assert_eq!(token.secret(), written);
        assert_eq!(Token::parse(written), Some(token.clone()));
        for wrong in [
            "",
            "a0",
            &written.to_uppercase(),
            &format!("{written}0"),
            &"é".repeat(16),
        ] {
            assert_eq!(Token::parse(wrong), None, "{wrong:?}");
        }
        let shown = format!("{token:?} {:?}", token.hash());
        assert!(!shown.contains("a0"), "{shown}");
    }

    #[test]
    fn hash_depends_on_token_and_kind() {
        let (one, other) = (Token::new([1; 16]), Token::new([2; 16]));
        assert_eq!(one.hash(), Token::new([1; 16]).hash());
        assert_ne!(one.hash(), other.hash());
        assert_ne!(one.hash(), one.browser_hash());
        assert_eq!(one.hash().prefix().to_be_bytes(), one.hash().bytes()[..8]);
    }
}

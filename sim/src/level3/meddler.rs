//! Somebody on the way between two hosts: what becomes of the octets that pass in clear.
//!
//! It looks at whole writes, as our servers make them. It does **not** know TLS: what is encrypted
//! passes.

/// Somebody between two hosts who reads and writes what is not encrypted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Meddler {
    /// Hides that the server offers STARTTLS.
    Strips,
    /// Puts commands behind STARTTLS, for the time after the handshake.
    Commands,
    /// The same with replies.
    Replies,
}

impl Meddler {
    pub(super) const ALL: [Meddler; 3] = [Meddler::Strips, Meddler::Commands, Meddler::Replies];

    /// What goes on instead of `octets`; `turns` says whether STARTTLS was said before.
    pub(super) fn meddle(self, side: usize, octets: &[u8], turns: bool) -> Vec<u8> {
        let mut through = octets.to_vec();
        match (self, side) {
            (Meddler::Strips, 1) => {
                let offer = through.windows(OFFER.len()).position(|w| w == OFFER);
                if let Some(place) = offer.and_then(|at| through.get_mut(at..at + OFFER.len())) {
                    place.copy_from_slice(b"250-XXXXXXXX");
                }
            }
            (Meddler::Commands, 0) if octets == STARTTLS => {
                through.extend_from_slice(INJECTED.as_bytes());
            }
            (Meddler::Replies, 1) if turns && octets.starts_with(b"220 ") => {
                through.extend_from_slice(b"250-mallory\r\n250 8BITMIME\r\n");
            }
            _ => {}
        }
        through
    }
}

/// The command as our client writes it, alone.
pub(super) const STARTTLS: &[u8] = b"STARTTLS\r\n";
/// Its line in a reply to EHLO.
const OFFER: &[u8] = b"250-STARTTLS";
/// A message that nobody sent: its number is nobody's.
const INJECTED: &str = "EHLO mallory.sim\r\nMAIL FROM:<mallory@origin.sim>\r\n\
    RCPT TO:<box0+m4000000000@b.sim>\r\nRCPT TO:<box0+m4000000000@a.sim>\r\n\
    BDAT 27 LAST\r\nX-Simulated: 4000000000\r\n\r\n";

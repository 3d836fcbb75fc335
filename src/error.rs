//! What can go wrong, as sentences for the user.

use std::fmt;
use std::io::Write as _;

use crate::text::printable;

/// An error: one sentence that names the thing, the value and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The command line asks for something that cannot be.
    Usage(String),
    /// The work could not be done.
    Failed(String),
    /// The work was stopped on purpose, and can be resumed.
    Stopped(String),
}

/// A result with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The process's exit code: 1 failed, 2 usage, 75 stopped early (`EX_TEMPFAIL` of sysexits.h).
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Stopped(_) => 75,
        }
    }

    /// The error with this exit code and sentence.
    pub fn of(exit_code: u8, sentence: String) -> Self {
        match exit_code {
            2 => Self::Usage(sentence),
            75 => Self::Stopped(sentence),
            _ => Self::Failed(sentence),
        }
    }

    /// An error of the same kind with another sentence.
    #[must_use]
    pub fn map(self, change: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Usage(text) => Self::Usage(change(text)),
            Self::Failed(text) => Self::Failed(change(text)),
            Self::Stopped(text) => Self::Stopped(change(text)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) | Self::Stopped(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// Says a sentence on standard error, in one piece: a launcher may mix the output of ranks.
pub fn tell(sentence: impl fmt::Display) {
    // there is no other place to say that this fails
    let _ =
        std::io::stderr().write_all(format!("pairdist: {}\n", printable(&sentence.to_string())).as_bytes());
}

/// Makes a panic of any thread end the program with `end`, after it was told in one sentence that begins with `who`.
pub fn end_on_panic(who: String, end: impl Fn() + Send + Sync + 'static) {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        // no fault of the program; and a backtrace takes memory, which may be what there is none of
        if let Some(error) = payload.downcast_ref::<Error>() {
            tell(format_args!("{who}{error}"));
            end();
        }
        let text = payload.downcast_ref::<&str>().copied();
        let text = text
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no reason given");
        let place =
            info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
        tell(format_args!("{who}internal error{place}: {text}; please report it"));
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            report(info);
        }
        end();
    }));
}

/// Puts what was being done in front of a library's error.
pub trait Context<T> {
    /// `what: error`, where `what` names the file or object.
    fn context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::Failed(format!("{}: {error}", what())))
    }
}

/// Returns early with [`Error::Failed`] and a formatted sentence.
macro_rules! fail {
    ($($text:tt)*) => {
        return Err($crate::error::Error::Failed(format!($($text)*)))
    };
}
pub(crate) use fail;

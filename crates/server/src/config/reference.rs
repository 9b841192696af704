//! `docs/reference/config.md`, from the list of options.

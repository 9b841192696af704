//! Cleaning of text that a peer or a user chose, before it stands in a field of ours.

//! What only the machine can tell about a configuration.

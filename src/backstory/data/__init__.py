"""From files, frames and arrays to one `Dataset` record, and from model output back to files."""

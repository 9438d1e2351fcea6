"""None; without this file Django would make no content types of those in the migrations."""

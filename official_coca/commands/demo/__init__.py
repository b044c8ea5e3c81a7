"""The page that `coca demo` serves."""

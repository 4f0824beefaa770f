"""The rules, pure: values in, values out. Time is an argument; nothing here does I/O."""

// Exists to be precompiled.

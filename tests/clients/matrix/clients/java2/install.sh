#!/usr/bin/env bash
# install.sh CACHE: downloads the jars of pom.xml, and compiles the program against them. Later runs need no Maven.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")"

made_of=$({ cat install.sh pom.xml Client.java; javac -version; } 2>&1 | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0

rm -rf "${cache:?}"/*
# Maven prints colour codes even without a message; its errors are on standard output as well.
mvn --batch-mode --quiet --file pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$cache/jars" >"$cache/log" 2>&1 || { cat "$cache/log" >&2; exit 1; }
javac -encoding UTF-8 -Xlint:all,-path,-classfile -cp "$cache/jars/*" -d "$cache/classes" Client.java
echo "$made_of" >"$cache/stamp"

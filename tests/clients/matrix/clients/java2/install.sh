#!/usr/bin/env bash
# The jars that pom.xml pins, and the program compiled against them, into the folder that is given. Maven is needed no more then.
set -euo pipefail
cache=$(realpath "$1")
cd "$(dirname "$0")"

made_of=$({ cat install.sh pom.xml Client.java; javac -version; } 2>&1 | sha256sum)
[ "$(cat "$cache/stamp" 2>/dev/null)" != "$made_of" ] || exit 0

rm -rf "${cache:?}"/*
# Colours off it prints even where it has nothing to say; its errors go to standard output, too.
mvn --batch-mode --quiet --file pom.xml org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
  -DincludeScope=runtime -DoutputDirectory="$cache/jars" >"$cache/log" 2>&1 || { cat "$cache/log" >&2; exit 1; }
javac -encoding UTF-8 -Xlint:all,-path,-classfile -cp "$cache/jars/*" -d "$cache/classes" Client.java
echo "$made_of" >"$cache/stamp"

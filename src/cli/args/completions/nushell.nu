# Completion of credenza for nushell 0.108 or newer. It asks the program; no name is evaluated.
def "nu-complete credenza" [spans: list<string>] {
    let lines = (do { ^credenza complete -- ...($spans | skip 1) } | complete | get stdout | lines)
    let typed = ($spans | last | str replace --all --regex "['\"`]" "")
    let kind = ($lines | first | default "")
    if $kind in ["files" "folders" "command"] {
        let prefix = ($typed | parse --regex '^(?<flag>--[^=]*=)' | get -o 0.flag | default "")
        let path = ($typed | str substring ($prefix | str length)..)
        let found = (try { ls --all ($"($path)*" | into glob) } catch { [] })
        let found = (if $kind == "folders" { $found | where type == dir } else { $found })
        return ($found | each {|entry|
            let end = (if $entry.type == dir { "/" } else { "" })
            {value: $"($prefix)($entry.name)($end)", description: $entry.type}
        })
    }
    $lines | skip 1 | where {|line| $line | str starts-with $typed } | each {|line|
        let parts = ($line | split row -n 2 (char tab))
        let word = $parts.0
        let quoted = if ($word =~ '^[A-Za-z0-9_./@:+=,%-]+$') {
            $word
        } else if ($word =~ "'") {
            $word | to json
        } else {
            $"'($word)'"
        }
        {value: $quoted, description: ($parts | get -o 1 | default "")}
    }
}
@complete "nu-complete credenza"
export extern credenza []

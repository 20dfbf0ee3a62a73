# Completion of credenza for fish. It asks the program; no name is evaluated.
function __credenza_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    # A word with a quote is read as fish reads it, if it is complete; nothing of it runs.
    set -l lines (command credenza complete -- $words[2..] (string unescape -- $current; or echo -- $current) 2>/dev/null)
    switch "$lines[1]"
        case command
            set -l at (contains -i -- -- $words)
            complete -C (string join ' ' -- (string escape -- $words[(math $at + 1)..]) $current)
        case files folders
            set -l prefix (string match -r -- '^--[^=]*=' $current; or echo)
            set -l paths
            if test "$lines[1]" = folders
                set paths (__fish_complete_directories (string replace -r -- '^--[^=]*=' '' $current) "")
            else
                set paths (__fish_complete_path (string replace -r -- '^--[^=]*=' '' $current))
            end
            for path in $paths
                echo -- $prefix$path
            end
        case "*"
            printf '%s\n' $lines[2..]
    end
end
complete -c credenza -e
complete -c credenza -f -a "(__credenza_complete)"

# Completion of charlm for fish. It asks charlm itself for the words that fit; where it knows none, files are offered.
function __charlm_complete
    _CHARLM_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] _TYPER_COMPLETE_ARGS=(commandline -cp) charlm 2>/dev/null
end

complete --command charlm --no-files --condition "__charlm_complete is-args" --arguments "(__charlm_complete get-args)"

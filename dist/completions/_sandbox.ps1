
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'sandbox' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'sandbox'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'sandbox' {
            [CompletionResult]::new('--policy', '--policy', [CompletionResultType]::ParameterName, 'Start from the policy NAME, or from the policy in FILE')
            [CompletionResult]::new('--require', '--require', [CompletionResultType]::ParameterName, 'Demand protection of LEVEL from this host, or run nothing')
            [CompletionResult]::new('--net', '--net', [CompletionResultType]::ParameterName, 'Give the command the network MODE')
            [CompletionResult]::new('--userns', '--userns', [CompletionResultType]::ParameterName, 'Whether to use a user namespace: auto, yes or no')
            [CompletionResult]::new('--share', '--share', [CompletionResultType]::ParameterName, 'Share the NAMESPACES with the host instead of making fresh ones')
            [CompletionResult]::new('--proc', '--proc', [CompletionResultType]::ParameterName, 'Whose /proc the command sees: its own or the host''s')
            [CompletionResult]::new('--sys', '--sys', [CompletionResultType]::ParameterName, 'Whose /sys the command sees: its own or the host''s')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Whose /dev the command sees: its own or the host''s')
            [CompletionResult]::new('--read-only', '--read-only', [CompletionResultType]::ParameterName, 'Make PATH and everything below it read-only')
            [CompletionResult]::new('--read-write', '--read-write', [CompletionResultType]::ParameterName, 'Keep PATH writable below a read-only tree')
            [CompletionResult]::new('--hide', '--hide', [CompletionResultType]::ParameterName, 'Cover PATH, a directory or file, with nothing')
            [CompletionResult]::new('--hide-sockets', '--hide-sockets', [CompletionResultType]::ParameterName, 'Hide the host''s Unix sockets that have a path')
            [CompletionResult]::new('--private-tmp', '--private-tmp', [CompletionResultType]::ParameterName, 'Give the command an empty /tmp and /var/tmp of its own')
            [CompletionResult]::new('--seccomp', '--seccomp', [CompletionResultType]::ParameterName, 'Filter system calls by PROFILE, by the profile in FILE, or not at all')
            [CompletionResult]::new('--cap-add', '--cap-add', [CompletionResultType]::ParameterName, 'Keep the capability CAP')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Run the command as USER')
            [CompletionResult]::new('--group', '--group', [CompletionResultType]::ParameterName, 'Run the command as GROUP')
            [CompletionResult]::new('--chdir', '--chdir', [CompletionResultType]::ParameterName, 'Start the command in the directory PATH')
            [CompletionResult]::new('--hostname', '--hostname', [CompletionResultType]::ParameterName, 'Call the host NAME inside')
            [CompletionResult]::new('--as-pid-1', '--as-pid-1', [CompletionResultType]::ParameterName, 'Make the command process 1 itself')
            [CompletionResult]::new('--new-session', '--new-session', [CompletionResultType]::ParameterName, 'Start the command in a new session, without the terminal')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Set the variable NAME to VALUE, or pass on the caller''s NAME')
            [CompletionResult]::new('--unset-env', '--unset-env', [CompletionResultType]::ParameterName, 'Remove the variable NAME')
            [CompletionResult]::new('--clear-env', '--clear-env', [CompletionResultType]::ParameterName, 'Start from an empty environment')
            [CompletionResult]::new('--keep-env', '--keep-env', [CompletionResultType]::ParameterName, 'With --clear-env, keep the variable NAME all the same')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD')
            [CompletionResult]::new('--cgroup', '--cgroup', [CompletionResultType]::ParameterName, 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'End everything after DURATION, with exit status 124')
            [CompletionResult]::new('--kill-after', '--kill-after', [CompletionResultType]::ParameterName, 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out')
            [CompletionResult]::new('--pass-fd', '--pass-fd', [CompletionResultType]::ParameterName, 'Pass the open descriptor N, called NAME')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen on ADDRESS outside and pass the socket, called NAME')
            [CompletionResult]::new('--connect', '--connect', [CompletionResultType]::ParameterName, 'Connect to ADDRESS outside and pass the socket, called NAME')
            [CompletionResult]::new('--receive-from', '--receive-from', [CompletionResultType]::ParameterName, 'Take connected sockets from a broker listening on unix:PATH')
            [CompletionResult]::new('--events', '--events', [CompletionResultType]::ParameterName, 'Write events as JSON lines to FILE or to the open descriptor N')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print what would be done, as text or JSON, and run nothing')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--best-effort', '--best-effort', [CompletionResultType]::ParameterName, 'Run with less protection where this host cannot give all')
            [CompletionResult]::new('--stdin-socket', '--stdin-socket', [CompletionResultType]::ParameterName, 'Make the first passed socket standard input and output too')
            [CompletionResult]::new('--allow-unsafe-fd', '--allow-unsafe-fd', [CompletionResultType]::ParameterName, 'Pass descriptors of kinds that can lead out of the sandbox')
            [CompletionResult]::new('--timing', '--timing', [CompletionResultType]::ParameterName, 'Print the microseconds that each step of the launch took')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('run', 'run', [CompletionResultType]::ParameterValue, 'Run a command; the word "run" may be left out')
            [CompletionResult]::new('policy', 'policy', [CompletionResultType]::ParameterValue, 'Say what policies there are and what one means')
            [CompletionResult]::new('doctor', 'doctor', [CompletionResultType]::ParameterValue, 'Say what this host can give, what is missing, and the remedy')
            [CompletionResult]::new('selftest', 'selftest', [CompletionResultType]::ParameterValue, 'Try the known escapes inside such a sandbox')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print the completions for a shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print the manual page, or write all pages')
            break
        }
        'sandbox;run' {
            [CompletionResult]::new('--policy', '--policy', [CompletionResultType]::ParameterName, 'Start from the policy NAME, or from the policy in FILE')
            [CompletionResult]::new('--require', '--require', [CompletionResultType]::ParameterName, 'Demand protection of LEVEL from this host, or run nothing')
            [CompletionResult]::new('--net', '--net', [CompletionResultType]::ParameterName, 'Give the command the network MODE')
            [CompletionResult]::new('--userns', '--userns', [CompletionResultType]::ParameterName, 'Whether to use a user namespace: auto, yes or no')
            [CompletionResult]::new('--share', '--share', [CompletionResultType]::ParameterName, 'Share the NAMESPACES with the host instead of making fresh ones')
            [CompletionResult]::new('--proc', '--proc', [CompletionResultType]::ParameterName, 'Whose /proc the command sees: its own or the host''s')
            [CompletionResult]::new('--sys', '--sys', [CompletionResultType]::ParameterName, 'Whose /sys the command sees: its own or the host''s')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Whose /dev the command sees: its own or the host''s')
            [CompletionResult]::new('--read-only', '--read-only', [CompletionResultType]::ParameterName, 'Make PATH and everything below it read-only')
            [CompletionResult]::new('--read-write', '--read-write', [CompletionResultType]::ParameterName, 'Keep PATH writable below a read-only tree')
            [CompletionResult]::new('--hide', '--hide', [CompletionResultType]::ParameterName, 'Cover PATH, a directory or file, with nothing')
            [CompletionResult]::new('--hide-sockets', '--hide-sockets', [CompletionResultType]::ParameterName, 'Hide the host''s Unix sockets that have a path')
            [CompletionResult]::new('--private-tmp', '--private-tmp', [CompletionResultType]::ParameterName, 'Give the command an empty /tmp and /var/tmp of its own')
            [CompletionResult]::new('--seccomp', '--seccomp', [CompletionResultType]::ParameterName, 'Filter system calls by PROFILE, by the profile in FILE, or not at all')
            [CompletionResult]::new('--cap-add', '--cap-add', [CompletionResultType]::ParameterName, 'Keep the capability CAP')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Run the command as USER')
            [CompletionResult]::new('--group', '--group', [CompletionResultType]::ParameterName, 'Run the command as GROUP')
            [CompletionResult]::new('--chdir', '--chdir', [CompletionResultType]::ParameterName, 'Start the command in the directory PATH')
            [CompletionResult]::new('--hostname', '--hostname', [CompletionResultType]::ParameterName, 'Call the host NAME inside')
            [CompletionResult]::new('--as-pid-1', '--as-pid-1', [CompletionResultType]::ParameterName, 'Make the command process 1 itself')
            [CompletionResult]::new('--new-session', '--new-session', [CompletionResultType]::ParameterName, 'Start the command in a new session, without the terminal')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Set the variable NAME to VALUE, or pass on the caller''s NAME')
            [CompletionResult]::new('--unset-env', '--unset-env', [CompletionResultType]::ParameterName, 'Remove the variable NAME')
            [CompletionResult]::new('--clear-env', '--clear-env', [CompletionResultType]::ParameterName, 'Start from an empty environment')
            [CompletionResult]::new('--keep-env', '--keep-env', [CompletionResultType]::ParameterName, 'With --clear-env, keep the variable NAME all the same')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD')
            [CompletionResult]::new('--cgroup', '--cgroup', [CompletionResultType]::ParameterName, 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'End everything after DURATION, with exit status 124')
            [CompletionResult]::new('--kill-after', '--kill-after', [CompletionResultType]::ParameterName, 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out')
            [CompletionResult]::new('--pass-fd', '--pass-fd', [CompletionResultType]::ParameterName, 'Pass the open descriptor N, called NAME')
            [CompletionResult]::new('--listen', '--listen', [CompletionResultType]::ParameterName, 'Listen on ADDRESS outside and pass the socket, called NAME')
            [CompletionResult]::new('--connect', '--connect', [CompletionResultType]::ParameterName, 'Connect to ADDRESS outside and pass the socket, called NAME')
            [CompletionResult]::new('--receive-from', '--receive-from', [CompletionResultType]::ParameterName, 'Take connected sockets from a broker listening on unix:PATH')
            [CompletionResult]::new('--events', '--events', [CompletionResultType]::ParameterName, 'Write events as JSON lines to FILE or to the open descriptor N')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print what would be done, as text or JSON, and run nothing')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--best-effort', '--best-effort', [CompletionResultType]::ParameterName, 'Run with less protection where this host cannot give all')
            [CompletionResult]::new('--stdin-socket', '--stdin-socket', [CompletionResultType]::ParameterName, 'Make the first passed socket standard input and output too')
            [CompletionResult]::new('--allow-unsafe-fd', '--allow-unsafe-fd', [CompletionResultType]::ParameterName, 'Pass descriptors of kinds that can lead out of the sandbox')
            [CompletionResult]::new('--timing', '--timing', [CompletionResultType]::ParameterName, 'Print the microseconds that each step of the launch took')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;policy' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('list', 'list', [CompletionResultType]::ParameterValue, 'List the policies that can be named, and where each comes from')
            [CompletionResult]::new('show', 'show', [CompletionResultType]::ParameterValue, 'Print a policy with all its layers merged')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Say whether a policy is valid, and what it widens')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Say each key''s value, its meaning and where it came from')
            [CompletionResult]::new('diff', 'diff', [CompletionResultType]::ParameterValue, 'Say what a policy has otherwise than another')
            break
        }
        'sandbox;policy;list' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;policy;show' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;policy;check' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;policy;explain' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;policy;diff' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;doctor' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;selftest' {
            [CompletionResult]::new('--policy', '--policy', [CompletionResultType]::ParameterName, 'Start from the policy NAME, or from the policy in FILE')
            [CompletionResult]::new('--require', '--require', [CompletionResultType]::ParameterName, 'Demand protection of LEVEL from this host, or run nothing')
            [CompletionResult]::new('--net', '--net', [CompletionResultType]::ParameterName, 'Give the command the network MODE')
            [CompletionResult]::new('--userns', '--userns', [CompletionResultType]::ParameterName, 'Whether to use a user namespace: auto, yes or no')
            [CompletionResult]::new('--share', '--share', [CompletionResultType]::ParameterName, 'Share the NAMESPACES with the host instead of making fresh ones')
            [CompletionResult]::new('--proc', '--proc', [CompletionResultType]::ParameterName, 'Whose /proc the command sees: its own or the host''s')
            [CompletionResult]::new('--sys', '--sys', [CompletionResultType]::ParameterName, 'Whose /sys the command sees: its own or the host''s')
            [CompletionResult]::new('--dev', '--dev', [CompletionResultType]::ParameterName, 'Whose /dev the command sees: its own or the host''s')
            [CompletionResult]::new('--read-only', '--read-only', [CompletionResultType]::ParameterName, 'Make PATH and everything below it read-only')
            [CompletionResult]::new('--read-write', '--read-write', [CompletionResultType]::ParameterName, 'Keep PATH writable below a read-only tree')
            [CompletionResult]::new('--hide', '--hide', [CompletionResultType]::ParameterName, 'Cover PATH, a directory or file, with nothing')
            [CompletionResult]::new('--hide-sockets', '--hide-sockets', [CompletionResultType]::ParameterName, 'Hide the host''s Unix sockets that have a path')
            [CompletionResult]::new('--private-tmp', '--private-tmp', [CompletionResultType]::ParameterName, 'Give the command an empty /tmp and /var/tmp of its own')
            [CompletionResult]::new('--seccomp', '--seccomp', [CompletionResultType]::ParameterName, 'Filter system calls by PROFILE, by the profile in FILE, or not at all')
            [CompletionResult]::new('--cap-add', '--cap-add', [CompletionResultType]::ParameterName, 'Keep the capability CAP')
            [CompletionResult]::new('--user', '--user', [CompletionResultType]::ParameterName, 'Run the command as USER')
            [CompletionResult]::new('--group', '--group', [CompletionResultType]::ParameterName, 'Run the command as GROUP')
            [CompletionResult]::new('--chdir', '--chdir', [CompletionResultType]::ParameterName, 'Start the command in the directory PATH')
            [CompletionResult]::new('--hostname', '--hostname', [CompletionResultType]::ParameterName, 'Call the host NAME inside')
            [CompletionResult]::new('--as-pid-1', '--as-pid-1', [CompletionResultType]::ParameterName, 'Make the command process 1 itself')
            [CompletionResult]::new('--new-session', '--new-session', [CompletionResultType]::ParameterName, 'Start the command in a new session, without the terminal')
            [CompletionResult]::new('--env', '--env', [CompletionResultType]::ParameterName, 'Set the variable NAME to VALUE, or pass on the caller''s NAME')
            [CompletionResult]::new('--unset-env', '--unset-env', [CompletionResultType]::ParameterName, 'Remove the variable NAME')
            [CompletionResult]::new('--clear-env', '--clear-env', [CompletionResultType]::ParameterName, 'Start from an empty environment')
            [CompletionResult]::new('--keep-env', '--keep-env', [CompletionResultType]::ParameterName, 'With --clear-env, keep the variable NAME all the same')
            [CompletionResult]::new('--limit', '--limit', [CompletionResultType]::ParameterName, 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD')
            [CompletionResult]::new('--cgroup', '--cgroup', [CompletionResultType]::ParameterName, 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N')
            [CompletionResult]::new('--timeout', '--timeout', [CompletionResultType]::ParameterName, 'End everything after DURATION, with exit status 124')
            [CompletionResult]::new('--kill-after', '--kill-after', [CompletionResultType]::ParameterName, 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('--best-effort', '--best-effort', [CompletionResultType]::ParameterName, 'Run with less protection where this host cannot give all')
            [CompletionResult]::new('--json', '--json', [CompletionResultType]::ParameterName, 'Print JSON')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;completions' {
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'sandbox;man' {
            [CompletionResult]::new('--dir', '--dir', [CompletionResultType]::ParameterName, 'Write all pages into the directory DIR')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Write messages as FORMAT: text or json')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Say more: -v what was granted, -vv each step, -vvv everything')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Leave warnings out')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}

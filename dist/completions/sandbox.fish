# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sandbox_global_optspecs
    string join \n policy= require= best-effort net= allow= deny= inspect= publish= max-bytes= max-rate= proxy-env= userns= share= proc= sys= dev= read-only= read-write= hide= hide-sockets= private-tmp= seccomp= cap-add= user= group= chdir= hostname= as-pid-1= new-session= env= unset-env= clear-env= keep-env= limit= cgroup= timeout= kill-after= pass-fd= listen= connect= receive-from= stdin-socket allow-unsafe-fd events= dry-run= timing v/verbose q/quiet log-format= h/help V/version
end

function __fish_sandbox_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sandbox_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sandbox_using_subcommand
    set -l cmd (__fish_sandbox_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sandbox -n "__fish_sandbox_needs_command" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F
complete -c sandbox -n "__fish_sandbox_needs_command" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l allow -d 'Let the command reach DEST outside' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l max-bytes -d 'Let SIZE bytes go to and from DEST in all, and cut it off then' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l max-rate -d 'Let SIZE bytes a second go to and from DEST' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l proxy-env -d 'Offer a proxy at PORT inside, and name it in the environment' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l userns -d 'Whether to use a user namespace: auto, yes or no' -r -f -a "auto\t''
yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l share -d 'Share the NAMESPACES with the host instead of making fresh ones' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l proc -d 'Whose /proc the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l sys -d 'Whose /sys the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l dev -d 'Whose /dev the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l read-only -d 'Make PATH and everything below it read-only' -r -F
complete -c sandbox -n "__fish_sandbox_needs_command" -l read-write -d 'Keep PATH writable below a read-only tree' -r -F
complete -c sandbox -n "__fish_sandbox_needs_command" -l hide -d 'Cover PATH, a directory or file, with nothing' -r -F
complete -c sandbox -n "__fish_sandbox_needs_command" -l hide-sockets -d 'Hide the host\'s Unix sockets that have a path' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l private-tmp -d 'Give the command an empty /tmp and /var/tmp of its own' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l seccomp -d 'Filter system calls by PROFILE, by the profile in FILE, or not at all' -r -F
complete -c sandbox -n "__fish_sandbox_needs_command" -l cap-add -d 'Keep the capability CAP' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l user -d 'Run the command as USER' -r -f -a "(__fish_complete_users)"
complete -c sandbox -n "__fish_sandbox_needs_command" -l group -d 'Run the command as GROUP' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l chdir -d 'Start the command in the directory PATH' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_needs_command" -l hostname -d 'Call the host NAME inside' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l as-pid-1 -d 'Make the command process 1 itself' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l new-session -d 'Start the command in a new session, without the terminal' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l env -d 'Set the variable NAME to VALUE, or pass on the caller\'s NAME' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l unset-env -d 'Remove the variable NAME' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l clear-env -d 'Start from an empty environment' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l keep-env -d 'With --clear-env, keep the variable NAME all the same' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l limit -d 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l cgroup -d 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l timeout -d 'End everything after DURATION, with exit status 124' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l kill-after -d 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l pass-fd -d 'Pass the open descriptor N, called NAME' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l listen -d 'Listen on ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l connect -d 'Connect to ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l receive-from -d 'Take connected sockets from a broker listening on unix:PATH' -r -F
complete -c sandbox -n "__fish_sandbox_needs_command" -l events -d 'Write events as JSON lines to FILE or to the open descriptor N' -r -F
complete -c sandbox -n "__fish_sandbox_needs_command" -l dry-run -d 'Print what would be done, as text or JSON, and run nothing' -r -f -a "text\t''
json\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_needs_command" -l best-effort -d 'Run with less protection where this host cannot give all'
complete -c sandbox -n "__fish_sandbox_needs_command" -l stdin-socket -d 'Make the first passed socket standard input and output too'
complete -c sandbox -n "__fish_sandbox_needs_command" -l allow-unsafe-fd -d 'Pass descriptors of kinds that can lead out of the sandbox'
complete -c sandbox -n "__fish_sandbox_needs_command" -l timing -d 'Print the microseconds that each step of the launch took'
complete -c sandbox -n "__fish_sandbox_needs_command" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_needs_command" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_needs_command" -s V -l version -d 'Print version'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "run" -d 'Run a command; the word "run" may be left out'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "serve" -d 'Accept connections and hand them to sandboxed workers'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "policy" -d 'Say what policies there are and what one means'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "doctor" -d 'Say what this host can give, what is missing, and the remedy'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "selftest" -d 'Try the known escapes inside such a sandbox'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "completions" -d 'Print the completions for a shell'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "man" -d 'Print the manual page, or write all pages'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l allow -d 'Let the command reach DEST outside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l max-bytes -d 'Let SIZE bytes go to and from DEST in all, and cut it off then' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l max-rate -d 'Let SIZE bytes a second go to and from DEST' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l proxy-env -d 'Offer a proxy at PORT inside, and name it in the environment' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l userns -d 'Whether to use a user namespace: auto, yes or no' -r -f -a "auto\t''
yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l share -d 'Share the NAMESPACES with the host instead of making fresh ones' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l proc -d 'Whose /proc the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l sys -d 'Whose /sys the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l dev -d 'Whose /dev the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l read-only -d 'Make PATH and everything below it read-only' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l read-write -d 'Keep PATH writable below a read-only tree' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l hide -d 'Cover PATH, a directory or file, with nothing' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l hide-sockets -d 'Hide the host\'s Unix sockets that have a path' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l private-tmp -d 'Give the command an empty /tmp and /var/tmp of its own' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l seccomp -d 'Filter system calls by PROFILE, by the profile in FILE, or not at all' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l cap-add -d 'Keep the capability CAP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l user -d 'Run the command as USER' -r -f -a "(__fish_complete_users)"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l group -d 'Run the command as GROUP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l chdir -d 'Start the command in the directory PATH' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l hostname -d 'Call the host NAME inside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l as-pid-1 -d 'Make the command process 1 itself' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l new-session -d 'Start the command in a new session, without the terminal' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l env -d 'Set the variable NAME to VALUE, or pass on the caller\'s NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l unset-env -d 'Remove the variable NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l clear-env -d 'Start from an empty environment' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l keep-env -d 'With --clear-env, keep the variable NAME all the same' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l limit -d 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l cgroup -d 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l timeout -d 'End everything after DURATION, with exit status 124' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l kill-after -d 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l pass-fd -d 'Pass the open descriptor N, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l listen -d 'Listen on ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l connect -d 'Connect to ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l receive-from -d 'Take connected sockets from a broker listening on unix:PATH' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l events -d 'Write events as JSON lines to FILE or to the open descriptor N' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l dry-run -d 'Print what would be done, as text or JSON, and run nothing' -r -f -a "text\t''
json\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l best-effort -d 'Run with less protection where this host cannot give all'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l stdin-socket -d 'Make the first passed socket standard input and output too'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l allow-unsafe-fd -d 'Pass descriptors of kinds that can lead out of the sandbox'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l timing -d 'Print the microseconds that each step of the launch took'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l hand-over -d 'Hand connections over by MODE: listener, pool or connection' -r -f -a "listener\t''
pool\t''
connection\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l workers -d 'Keep N workers' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l spare -d 'Launch N sandboxes ahead of their connections' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l backlog -d 'Let N connections wait in a listener\'s queue' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l stop-signal -d 'Ask a worker to finish with the signal NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l max-connections -d 'Have N connections at a time' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l max-per-source -d 'Have N connections at a time from one source' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l idle-timeout -d 'End a connection on which no byte has moved for DURATION' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l total-timeout -d 'End a connection after DURATION, whatever it does' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l drain-timeout -d 'Give connections DURATION to end when the broker does' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l metrics -d 'Answer for metrics and status on ADDRESS' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l status -d 'Print how the broker whose --metrics is ADDRESS does, and run nothing' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l allow -d 'Let the command reach DEST outside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l max-bytes -d 'Let SIZE bytes go to and from DEST in all, and cut it off then' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l max-rate -d 'Let SIZE bytes a second go to and from DEST' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l proxy-env -d 'Offer a proxy at PORT inside, and name it in the environment' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l userns -d 'Whether to use a user namespace: auto, yes or no' -r -f -a "auto\t''
yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l share -d 'Share the NAMESPACES with the host instead of making fresh ones' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l proc -d 'Whose /proc the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l sys -d 'Whose /sys the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l dev -d 'Whose /dev the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l read-only -d 'Make PATH and everything below it read-only' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l read-write -d 'Keep PATH writable below a read-only tree' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l hide -d 'Cover PATH, a directory or file, with nothing' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l hide-sockets -d 'Hide the host\'s Unix sockets that have a path' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l private-tmp -d 'Give the command an empty /tmp and /var/tmp of its own' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l seccomp -d 'Filter system calls by PROFILE, by the profile in FILE, or not at all' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l cap-add -d 'Keep the capability CAP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l user -d 'Run the command as USER' -r -f -a "(__fish_complete_users)"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l group -d 'Run the command as GROUP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l chdir -d 'Start the command in the directory PATH' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l hostname -d 'Call the host NAME inside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l as-pid-1 -d 'Make the command process 1 itself' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l new-session -d 'Start the command in a new session, without the terminal' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l env -d 'Set the variable NAME to VALUE, or pass on the caller\'s NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l unset-env -d 'Remove the variable NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l clear-env -d 'Start from an empty environment' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l keep-env -d 'With --clear-env, keep the variable NAME all the same' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l limit -d 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l cgroup -d 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l timeout -d 'End everything after DURATION, with exit status 124' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l kill-after -d 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l pass-fd -d 'Pass the open descriptor N, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l connect -d 'Connect to ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l receive-from -d 'Take connected sockets from a broker listening on unix:PATH' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l events -d 'Write events as JSON lines to FILE or to the open descriptor N' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l dry-run -d 'Print what would be done, as text or JSON, and run nothing' -r -f -a "text\t''
json\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l listen -d 'Listen on ADDRESS, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l reuse-port -d 'Let other processes of this user listen on the same TCP ports'
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l json -d 'With --status, print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l best-effort -d 'Run with less protection where this host cannot give all'
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l allow-unsafe-fd -d 'Pass descriptors of kinds that can lead out of the sandbox'
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -f -a "list" -d 'List the policies that can be named, and where each comes from'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -f -a "show" -d 'Print a policy with all its layers merged'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -f -a "check" -d 'Say whether a policy is valid, and what it widens'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -f -a "explain" -d 'Say each key\'s value, its meaning and where it came from'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -f -a "test" -d 'Say whether a policy lets a command reach a destination; the status is 1 if not'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and not __fish_seen_subcommand_from list show check explain test diff" -f -a "diff" -d 'Say what a policy has otherwise than another'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from list" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from show" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from check" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from check" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from explain" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from explain" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from explain" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from explain" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from test" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from test" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from test" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from test" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from test" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from diff" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from diff" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from diff" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from diff" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand policy; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand doctor" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand doctor" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand doctor" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand doctor" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l allow -d 'Let the command reach DEST outside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l max-bytes -d 'Let SIZE bytes go to and from DEST in all, and cut it off then' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l max-rate -d 'Let SIZE bytes a second go to and from DEST' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l proxy-env -d 'Offer a proxy at PORT inside, and name it in the environment' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l userns -d 'Whether to use a user namespace: auto, yes or no' -r -f -a "auto\t''
yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l share -d 'Share the NAMESPACES with the host instead of making fresh ones' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l proc -d 'Whose /proc the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l sys -d 'Whose /sys the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l dev -d 'Whose /dev the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l read-only -d 'Make PATH and everything below it read-only' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l read-write -d 'Keep PATH writable below a read-only tree' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l hide -d 'Cover PATH, a directory or file, with nothing' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l hide-sockets -d 'Hide the host\'s Unix sockets that have a path' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l private-tmp -d 'Give the command an empty /tmp and /var/tmp of its own' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l seccomp -d 'Filter system calls by PROFILE, by the profile in FILE, or not at all' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l cap-add -d 'Keep the capability CAP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l user -d 'Run the command as USER' -r -f -a "(__fish_complete_users)"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l group -d 'Run the command as GROUP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l chdir -d 'Start the command in the directory PATH' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l hostname -d 'Call the host NAME inside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l as-pid-1 -d 'Make the command process 1 itself' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l new-session -d 'Start the command in a new session, without the terminal' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l env -d 'Set the variable NAME to VALUE, or pass on the caller\'s NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l unset-env -d 'Remove the variable NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l clear-env -d 'Start from an empty environment' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l keep-env -d 'With --clear-env, keep the variable NAME all the same' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l limit -d 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l cgroup -d 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l timeout -d 'End everything after DURATION, with exit status 124' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l kill-after -d 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l best-effort -d 'Run with less protection where this host cannot give all'
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand completions" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand completions" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand completions" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand man" -l dir -d 'Write all pages into the directory DIR' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_using_subcommand man" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand man" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand man" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'

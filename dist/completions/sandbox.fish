# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sandbox_global_optspecs
    string join \n policy= require= best-effort net= allow= deny= inspect= publish= egress= unix-sockets= max-bytes= max-rate= proxy-env= userns= share= proc= sys= dev= read-only= read-write= hide= hide-sockets= private-tmp= seccomp= cap-add= user= group= chdir= hostname= as-pid-1= new-session= env= unset-env= clear-env= keep-env= limit= cgroup= timeout= kill-after= pass-fd= listen= connect= receive-from= stdin-socket allow-unsafe-fd events= dry-run= timing v/verbose q/quiet log-format= h/help V/version
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

complete -c sandbox -n "__fish_sandbox_needs_command" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F -a "(sandbox completions --words policies 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_needs_command" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l allow -d 'Let the command reach DEST outside' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_needs_command" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_needs_command" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_needs_command" -l egress -d 'How allowed TCP connections are carried: relay or direct' -r -f -a "relay\t''
direct\t''"
complete -c sandbox -n "__fish_sandbox_needs_command" -l unix-sockets -d 'Which Unix sockets may be connected to by path: own, datagrams, any' -r -f -a "own\t''
datagrams\t''
any\t''"
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
complete -c sandbox -n "__fish_sandbox_needs_command" -a "learn" -d 'Run a command and write the policy under which it would pass'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "serve" -d 'Accept connections and hand them to sandboxed workers'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "netns" -d 'Make namespaces with names, and links, addresses and rules in them'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "lab" -d 'Make networks of many nodes from a file, look at them, try them'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "policy" -d 'Say what policies there are and what one means'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "doctor" -d 'Say what this host can give, what is missing, and the remedy'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "selftest" -d 'Try the known escapes inside such a sandbox'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "completions" -d 'Print the completions for a shell'
complete -c sandbox -n "__fish_sandbox_needs_command" -a "man" -d 'Print the manual page, or write all pages'
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F -a "(sandbox completions --words policies 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l allow -d 'Let the command reach DEST outside' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l egress -d 'How allowed TCP connections are carried: relay or direct' -r -f -a "relay\t''
direct\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand run" -l unix-sockets -d 'Which Unix sockets may be connected to by path: own, datagrams, any' -r -f -a "own\t''
datagrams\t''
any\t''"
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
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -s o -l output -d 'Write the policy to FILE, or to standard output where it is "-"' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F -a "(sandbox completions --words policies 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l allow -d 'Let the command reach DEST outside' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l egress -d 'How allowed TCP connections are carried: relay or direct' -r -f -a "relay\t''
direct\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l unix-sockets -d 'Which Unix sockets may be connected to by path: own, datagrams, any' -r -f -a "own\t''
datagrams\t''
any\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l max-bytes -d 'Let SIZE bytes go to and from DEST in all, and cut it off then' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l max-rate -d 'Let SIZE bytes a second go to and from DEST' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l proxy-env -d 'Offer a proxy at PORT inside, and name it in the environment' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l userns -d 'Whether to use a user namespace: auto, yes or no' -r -f -a "auto\t''
yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l share -d 'Share the NAMESPACES with the host instead of making fresh ones' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l proc -d 'Whose /proc the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l sys -d 'Whose /sys the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l dev -d 'Whose /dev the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l read-only -d 'Make PATH and everything below it read-only' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l read-write -d 'Keep PATH writable below a read-only tree' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l hide -d 'Cover PATH, a directory or file, with nothing' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l hide-sockets -d 'Hide the host\'s Unix sockets that have a path' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l private-tmp -d 'Give the command an empty /tmp and /var/tmp of its own' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l seccomp -d 'Filter system calls by PROFILE, by the profile in FILE, or not at all' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l cap-add -d 'Keep the capability CAP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l user -d 'Run the command as USER' -r -f -a "(__fish_complete_users)"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l group -d 'Run the command as GROUP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l chdir -d 'Start the command in the directory PATH' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l hostname -d 'Call the host NAME inside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l as-pid-1 -d 'Make the command process 1 itself' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l new-session -d 'Start the command in a new session, without the terminal' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l env -d 'Set the variable NAME to VALUE, or pass on the caller\'s NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l unset-env -d 'Remove the variable NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l clear-env -d 'Start from an empty environment' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l keep-env -d 'With --clear-env, keep the variable NAME all the same' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l limit -d 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l cgroup -d 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l timeout -d 'End everything after DURATION, with exit status 124' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l kill-after -d 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l pass-fd -d 'Pass the open descriptor N, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l listen -d 'Listen on ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l connect -d 'Connect to ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l receive-from -d 'Take connected sockets from a broker listening on unix:PATH' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l events -d 'Write events as JSON lines to FILE or to the open descriptor N' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l dry-run -d 'Print what would be done, as text or JSON, and run nothing' -r -f -a "text\t''
json\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l force -d 'Replace FILE if it is there'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l deny-while-learning -d 'Refuse what the options do not allow, and write it down all the same'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l best-effort -d 'Run with less protection where this host cannot give all'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l stdin-socket -d 'Make the first passed socket standard input and output too'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l allow-unsafe-fd -d 'Pass descriptors of kinds that can lead out of the sandbox'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -l timing -d 'Print the microseconds that each step of the launch took'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand learn" -s h -l help -d 'Print help (see more with \'--help\')'
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
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F -a "(sandbox completions --words policies 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l allow -d 'Let the command reach DEST outside' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l egress -d 'How allowed TCP connections are carried: relay or direct' -r -f -a "relay\t''
direct\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand serve" -l unix-sockets -d 'Which Unix sockets may be connected to by path: own, datagrams, any' -r -f -a "own\t''
datagrams\t''
any\t''"
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
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "add" -d 'Make namespaces with names'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "attach" -d 'Give a namespace that there is a name'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "list" -d 'List the names, with the number and the processes of each namespace'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "ls" -d 'List the names, with the number and the processes of each namespace'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "delete" -d 'Take names away; processes in a namespace keep it alive'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "del" -d 'Take names away; processes in a namespace keep it alive'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "identify" -d 'Say which names the namespace of a process has'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "pids" -d 'List the processes in a namespace'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "set" -d 'Give a namespace a number, by which the caller\'s namespace calls it'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "monitor" -d 'Tell when names come and go, until interrupted'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "exec" -d 'Run a command in a namespace, confined as by "sandbox run"'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "show" -d 'Print the links, addresses, routes, rules and neighbours of a namespace'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "veth" -d 'Join two namespaces, or two ends in one, by a wire: a veth pair'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "link" -d 'Make, change, move and delete links'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "address" -d 'Give addresses to a link, or take them away'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "addr" -d 'Give addresses to a link, or take them away'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "route" -d 'Add, replace and delete routes'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "rule" -d 'Add and delete rules that choose a table of routes'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "neighbour" -d 'Say which hardware address a neighbour has, or forget it'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "sysctl" -d 'Read or write settings of a namespace\'s network'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "firewall" -d 'Set, show and clear the firewall of a namespace'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "ping" -d 'Ask for echoes from inside a namespace; the status is 1 if one does not come'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "nat" -d 'Give a named namespace a way to the outside, behind the address of an uplink'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and not __fish_seen_subcommand_from add attach list ls delete del identify pids set monitor exec show veth link address addr route rule neighbour sysctl firewall ping nat shape" -f -a "shape" -d 'Slow down what a link sends, delay it, or lose some of it'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from add" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from add" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from add" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from add" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from attach" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from attach" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from attach" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from attach" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from attach" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from list" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ls" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from delete" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from delete" -l all -d 'Take every name away'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from delete" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from delete" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from delete" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from delete" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from del" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from del" -l all -d 'Take every name away'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from del" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from del" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from del" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from del" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from identify" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from identify" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from identify" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from identify" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from identify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from pids" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from pids" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from pids" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from pids" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from pids" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from set" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from set" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from set" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from set" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from monitor" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from monitor" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from monitor" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from monitor" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from monitor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F -a "(sandbox completions --words policies 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l allow -d 'Let the command reach DEST outside' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l egress -d 'How allowed TCP connections are carried: relay or direct' -r -f -a "relay\t''
direct\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l unix-sockets -d 'Which Unix sockets may be connected to by path: own, datagrams, any' -r -f -a "own\t''
datagrams\t''
any\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l max-bytes -d 'Let SIZE bytes go to and from DEST in all, and cut it off then' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l max-rate -d 'Let SIZE bytes a second go to and from DEST' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l proxy-env -d 'Offer a proxy at PORT inside, and name it in the environment' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l userns -d 'Whether to use a user namespace: auto, yes or no' -r -f -a "auto\t''
yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l share -d 'Share the NAMESPACES with the host instead of making fresh ones' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l proc -d 'Whose /proc the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l sys -d 'Whose /sys the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l dev -d 'Whose /dev the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l read-only -d 'Make PATH and everything below it read-only' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l read-write -d 'Keep PATH writable below a read-only tree' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l hide -d 'Cover PATH, a directory or file, with nothing' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l hide-sockets -d 'Hide the host\'s Unix sockets that have a path' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l private-tmp -d 'Give the command an empty /tmp and /var/tmp of its own' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l seccomp -d 'Filter system calls by PROFILE, by the profile in FILE, or not at all' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l cap-add -d 'Keep the capability CAP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l user -d 'Run the command as USER' -r -f -a "(__fish_complete_users)"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l group -d 'Run the command as GROUP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l chdir -d 'Start the command in the directory PATH' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l hostname -d 'Call the host NAME inside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l as-pid-1 -d 'Make the command process 1 itself' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l new-session -d 'Start the command in a new session, without the terminal' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l env -d 'Set the variable NAME to VALUE, or pass on the caller\'s NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l unset-env -d 'Remove the variable NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l clear-env -d 'Start from an empty environment' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l keep-env -d 'With --clear-env, keep the variable NAME all the same' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l limit -d 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l cgroup -d 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l timeout -d 'End everything after DURATION, with exit status 124' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l kill-after -d 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l pass-fd -d 'Pass the open descriptor N, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l listen -d 'Listen on ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l connect -d 'Connect to ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l receive-from -d 'Take connected sockets from a broker listening on unix:PATH' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l events -d 'Write events as JSON lines to FILE or to the open descriptor N' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l dry-run -d 'Print what would be done, as text or JSON, and run nothing' -r -f -a "text\t''
json\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l all -d 'Run the command in each namespace that has a name, one after the other'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l unconfined -d 'Run the command with all the caller\'s rights, as "ip netns exec" does'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l best-effort -d 'Run with less protection where this host cannot give all'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l stdin-socket -d 'Make the first passed socket standard input and output too'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l allow-unsafe-fd -d 'Pass descriptors of kinds that can lead out of the sandbox'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l timing -d 'Print the microseconds that each step of the launch took'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from show" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from show" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from show" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from veth" -l mtu -d 'The largest packet that both ends carry, in bytes' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from veth" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from veth" -l up -d 'Bring both ends up'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from veth" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from veth" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from veth" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from veth" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -f -a "add" -d 'Make a link; "netns veth" makes two ends of a wire'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -f -a "set" -d 'Change a link'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -f -a "delete" -d 'Delete a link; of a wire, both ends'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from link" -f -a "del" -d 'Delete a link; of a wire, both ends'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from address" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from address" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from address" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from address" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from address" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from addr" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from addr" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from addr" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from addr" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from addr" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l via -d 'The next router' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l link -d 'The link it goes out by' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l source -d 'The source address of what is sent from here' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l metric -d 'The smaller number wins' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l table -d 'The table; default: 254, the main one' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l kind -d 'What is done: unicast, local, blackhole, unreachable or prohibit' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l onlink -d 'The next router is on the link, though no address says so'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from route" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l from -d 'For packets from this network' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l to -d 'For packets to this network' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l input -d 'For packets that came in by this link' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l output -d 'For packets that go out by this link' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l mark -d 'For packets with this mark' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l priority -d 'The smaller number comes first' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l table -d 'The table that is looked up' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l ipv6 -d 'For IPv6, where no network says so'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from rule" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from neighbour" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from neighbour" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from neighbour" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from neighbour" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from neighbour" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from sysctl" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from sysctl" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from sysctl" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from sysctl" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from sysctl" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -f -a "set" -d 'Put a firewall in place of the one that was set before'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -f -a "nft" -d 'Run a script in the language of nft(8) in a namespace, all or nothing'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -f -a "show" -d 'Print every table of a namespace, as nft(8) does'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from firewall" -f -a "clear" -d 'Take the firewall away that was set; other tables stay'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ping" -l count -d 'Ask so often, a second apart' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ping" -l timeout -d 'Wait for each echo no longer than TIME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ping" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ping" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ping" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ping" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from ping" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -l uplink -d 'The link of the caller\'s network that leads outside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -l network -d 'The network of the wire, of 30 bits or fewer, of 126 for IPv6; once for each family' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -l off -d 'Take the way out away again'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from nat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -l rate -d 'Send no more than RATE: a number with kbit, mbit or gbit' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -l shaper -d 'Hold it to the rate by tbf or by htb, if the kernel has it' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -l delay -d 'Send each packet later by TIME, as 20ms; needs a kernel with netem' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -l jitter -d 'Give or take TIME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -l loss -d 'Lose this share of packets, as 0.5%; needs a kernel with netem' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand netns; and __fish_seen_subcommand_from shape" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "up" -d 'Make what a file says; of a lab that is up only what differs'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "down" -d 'Take a lab away, with all that runs in it'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "list" -d 'List the labs of this user'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "ls" -d 'List the labs of this user'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "exec" -d 'Run a command in a node, confined as by "sandbox run"'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "status" -d 'Print a lab\'s links, addresses, traffic and commands'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "graph" -d 'Draw a file\'s lab, as text or as a picture'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "check" -d 'Try who reaches whom; the status is 1 if anything is not as claimed'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "partition" -d 'Cut parts of a lab off from each other'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "unplug" -d 'Unplug the cable of a node\'s interface'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "plug" -d 'Plug the cable of a node\'s interface in again'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and not __fish_seen_subcommand_from up down list ls exec status graph check partition unplug plug heal" -f -a "heal" -d 'Undo partitions, and plug every cable in'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from up" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from up" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from up" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from up" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from down" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from down" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from down" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from down" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from down" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from list" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from list" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from list" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from ls" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from ls" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from ls" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from ls" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F -a "(sandbox completions --words policies 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l allow -d 'Let the command reach DEST outside' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l egress -d 'How allowed TCP connections are carried: relay or direct' -r -f -a "relay\t''
direct\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l unix-sockets -d 'Which Unix sockets may be connected to by path: own, datagrams, any' -r -f -a "own\t''
datagrams\t''
any\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l max-bytes -d 'Let SIZE bytes go to and from DEST in all, and cut it off then' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l max-rate -d 'Let SIZE bytes a second go to and from DEST' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l proxy-env -d 'Offer a proxy at PORT inside, and name it in the environment' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l userns -d 'Whether to use a user namespace: auto, yes or no' -r -f -a "auto\t''
yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l share -d 'Share the NAMESPACES with the host instead of making fresh ones' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l proc -d 'Whose /proc the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l sys -d 'Whose /sys the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l dev -d 'Whose /dev the command sees: its own or the host\'s' -r -f -a "own\t''
host\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l read-only -d 'Make PATH and everything below it read-only' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l read-write -d 'Keep PATH writable below a read-only tree' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l hide -d 'Cover PATH, a directory or file, with nothing' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l hide-sockets -d 'Hide the host\'s Unix sockets that have a path' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l private-tmp -d 'Give the command an empty /tmp and /var/tmp of its own' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l seccomp -d 'Filter system calls by PROFILE, by the profile in FILE, or not at all' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l cap-add -d 'Keep the capability CAP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l user -d 'Run the command as USER' -r -f -a "(__fish_complete_users)"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l group -d 'Run the command as GROUP' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l chdir -d 'Start the command in the directory PATH' -r -f -a "(__fish_complete_directories)"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l hostname -d 'Call the host NAME inside' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l as-pid-1 -d 'Make the command process 1 itself' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l new-session -d 'Start the command in a new session, without the terminal' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l env -d 'Set the variable NAME to VALUE, or pass on the caller\'s NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l unset-env -d 'Remove the variable NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l clear-env -d 'Start from an empty environment' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l keep-env -d 'With --clear-env, keep the variable NAME all the same' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l limit -d 'Set a resource limit as NAME=SOFT or NAME=SOFT:HARD' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l cgroup -d 'Limit the sandbox as a whole: memory=SIZE,pids=N,cpu=N' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l timeout -d 'End everything after DURATION, with exit status 124' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l kill-after -d 'Wait DURATION between SIGTERM and SIGKILL when --timeout runs out' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l pass-fd -d 'Pass the open descriptor N, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l listen -d 'Listen on ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l connect -d 'Connect to ADDRESS outside and pass the socket, called NAME' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l receive-from -d 'Take connected sockets from a broker listening on unix:PATH' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l events -d 'Write events as JSON lines to FILE or to the open descriptor N' -r -F
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l dry-run -d 'Print what would be done, as text or JSON, and run nothing' -r -f -a "text\t''
json\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l best-effort -d 'Run with less protection where this host cannot give all'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l stdin-socket -d 'Make the first passed socket standard input and output too'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l allow-unsafe-fd -d 'Pass descriptors of kinds that can lead out of the sandbox'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l timing -d 'Print the microseconds that each step of the launch took'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from exec" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from status" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from status" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from status" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from status" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from graph" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from graph" -l svg -d 'Print a picture, as SVG'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from graph" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from graph" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from graph" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from graph" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from check" -l wait -d 'Wait TIME for an answer' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from check" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from check" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from check" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from check" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from partition" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from partition" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from partition" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from partition" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from partition" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from unplug" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from unplug" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from unplug" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from unplug" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from unplug" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from plug" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from plug" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from plug" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from plug" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from plug" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from heal" -l log-format -d 'Write messages as FORMAT: text or json' -r -f -a "text\t'A line for people'
json\t'A JSON object a line'"
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from heal" -l json -d 'Print JSON'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from heal" -s v -l verbose -d 'Say more: -v what was granted, -vv each step, -vvv everything'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from heal" -s q -l quiet -d 'Leave warnings out'
complete -c sandbox -n "__fish_sandbox_using_subcommand lab; and __fish_seen_subcommand_from heal" -s h -l help -d 'Print help (see more with \'--help\')'
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
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l policy -d 'Start from the policy NAME, or from the policy in FILE' -r -F -a "(sandbox completions --words policies 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l require -d 'Demand protection of LEVEL from this host, or run nothing' -r -f -a "best-effort\t''
standard\t''
full\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l net -d 'Give the command the network MODE' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l allow -d 'Let the command reach DEST outside' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l deny -d 'Refuse DEST, whatever --allow and the policy allow' -r -f -a "(sandbox completions --words sets 2>/dev/null)"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l inspect -d 'Refuse what is sent to an allowed name without naming it' -r -f -a "yes\t''
no\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l publish -d 'Let the host reach the port IN of the command\'s loopback at OUT' -r
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l egress -d 'How allowed TCP connections are carried: relay or direct' -r -f -a "relay\t''
direct\t''"
complete -c sandbox -n "__fish_sandbox_using_subcommand selftest" -l unix-sockets -d 'Which Unix sockets may be connected to by path: own, datagrams, any' -r -f -a "own\t''
datagrams\t''
any\t''"
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
sets\t'Those of sets of destinations, as a rule has them'"
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

import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';

const SHELLS = ['bash', 'zsh', 'fish'] as const;
type Shell = (typeof SHELLS)[number];

function words(command: Command): string[] {
  return command.options.flatMap(({ short, long }) => [short, long]).filter((one) => one != null);
}

function bash(program: Command): string {
  const verbs = program.commands.map((command) => command.name());
  const cases = program.commands.map(
    (command) => `    ${command.name()}) words="${[...words(command), '--help'].join(' ')}" ;;`,
  );
  const own = [...words(program), '--help'].join(' ');
  return `_sluice() {
  local words="${[...verbs, own].join(' ')}"
  local before="\${COMP_WORDS[COMP_CWORD-1]}"
  case "\${COMP_WORDS[1]}" in
${cases.join('\n')}
  esac
  [ "$COMP_CWORD" = 1 ] && words="${[...verbs, own].join(' ')}"
  case "$before" in
    -c|--config) COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}")) ;;
    *) COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}")) ;;
  esac
}
complete -F _sluice sluice`;
}

function fish(program: Command): string {
  const quoted = (text: string) => `'${text.replaceAll("'", "\\'")}'`;
  return program.commands
    .flatMap((command) => {
      const name = command.name();
      const verb = `complete -c sluice -f -n __fish_use_subcommand -a ${name} -d ${quoted(command.description())}`;
      const options = command.options.map(
        ({ long, description }) =>
          `complete -c sluice -n '__fish_seen_subcommand_from ${name}' -l ${long?.slice(2)} -d ${quoted(description)}`,
      );
      return [verb, ...options];
    })
    .join('\n');
}

/** `completion`: a script that lets a shell complete the verbs and their options. */
export function addCompletion(program: Command, print: (text: string) => void): void {
  const shell = (text: string): Shell => {
    const known = SHELLS.find((one) => one === text);
    if (known) return known;
    throw new InvalidArgumentError(`One of: ${SHELLS.join(', ')}.`);
  };
  program
    .command('completion')
    .argument('<shell>', SHELLS.join(', '), shell)
    .description('prints a completion script; in bash: source <(sluice completion bash)')
    .action((name: Shell) => {
      if (name === 'fish') print(fish(program));
      else if (name === 'bash') print(bash(program));
      else print(`autoload -U +X bashcompinit && bashcompinit\n${bash(program)}`);
    });
}

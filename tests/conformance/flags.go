// The command that lists what the reference's command line knows.

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// Sections of the command line's help that tell of commands and of options. The
// options of all commands are listed with the root's alone.
const (
	sectionCommands      = "COMMANDS:"
	sectionOptions       = "OPTIONS:"
	sectionGlobalOptions = "GLOBAL OPTIONS:"
)

var (
	// A heading stands at the margin.
	headingLine = regexp.MustCompile(`^[A-Z ]+:$`)
	// A line of an entry is indented by three columns; lines that go on by more.
	commandLine = regexp.MustCompile(`^ {3}([a-z][a-z-]*)`)
	optionLine  = regexp.MustCompile(`^ {3}(--[a-z][a-z-]*)`)
)

// runFlags prints the commands and flags of the reference's command line, one a
// line, as its own help tells them.
func runFlags(args []string, out io.Writer) int {
	flags := flag.NewFlagSet("flags", flag.ContinueOnError)
	if err := flags.Parse(args); err != nil {
		return exitUsage
	}
	if flags.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "flags takes the soci program")
		return exitUsage
	}
	lines, err := commandFlags(flags.Arg(0), nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	fmt.Fprintln(out, strings.Join(lines, "\n"))
	return exitOK
}

// commandFlags lists a command, its flags and then those of the commands below it.
func commandFlags(program string, command []string) ([]string, error) {
	help, err := exec.Command(program, append(command, "--help")...).Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s --help: %w", program, strings.Join(command, " "), err)
	}
	name := strings.Join(append([]string{"soci"}, command...), " ")
	lines := []string{name}
	options := sectionOptions
	if len(command) == 0 {
		options = sectionGlobalOptions
	}
	for _, option := range entries(string(help), options, optionLine) {
		// Each command has its own --help.
		if option != "--help" || len(command) == 0 {
			lines = append(lines, name+" "+option)
		}
	}
	for _, below := range entries(string(help), sectionCommands, commandLine) {
		if below == "help" {
			continue
		}
		more, err := commandFlags(program, append(command[:len(command):len(command)], below))
		if err != nil {
			return nil, err
		}
		lines = append(lines, more...)
	}
	if len(lines) == 1 && len(command) == 0 {
		return nil, errors.New("the help of " + program + " cannot be read")
	}
	return lines, nil
}

// entries lists the names at the beginning of a section's lines.
func entries(help, section string, line *regexp.Regexp) []string {
	var names []string
	inside := false
	for text := range strings.Lines(help) {
		text = strings.TrimRight(text, " \n")
		if headingLine.MatchString(text) {
			inside = text == section
			continue
		}
		if match := line.FindStringSubmatch(text); inside && match != nil {
			names = append(names, match[1])
		}
	}
	return names
}

package harness

import "os"

// CleanEnv is the environment of every process: nothing of the developer's own Conan or proxy
// settings.
func CleanEnv(home string, extra ...string) []string {
	env := []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + home,
		"LC_ALL=C.UTF-8",
		"NO_PROXY=*",
		"no_proxy=*",
		"PYTHONDONTWRITEBYTECODE=1",
		"PYTHONUNBUFFERED=1",
	}
	for _, name := range []string{"TMPDIR", "PYENV_ROOT", "PYENV_VERSION", "LD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return append(env, extra...)
}

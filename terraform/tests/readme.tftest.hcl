# The README's tables name every variable, attribute and output.

mock_provider "google" {
  source = "./tests/mocks"
}

mock_provider "time" {}

variables {
  project_id = "test-project"
}

run "the_readme_is_complete" {
  command = plan

  assert {
    condition = alltrue([
      for name in regexall("(?m)^variable \"([a-z_]+)\"", file("${path.module}/variables.tf")) :
      strcontains(file("${path.module}/README.md"), "\n| `${name[0]}` ")
    ]) && length(regexall("(?m)^variable \"", file("${path.module}/variables.tf"))) > 20
    error_message = "A variable is missing from the README's table."
  }

  assert {
    condition = alltrue([
      for name in regexall("(?m)^output \"([a-z_]+)\"", file("${path.module}/outputs.tf")) :
      strcontains(file("${path.module}/README.md"), "\n| `${name[0]}` ")
    ]) && length(regexall("(?m)^output \"", file("${path.module}/outputs.tf"))) > 5
    error_message = "An output is missing from the README's table."
  }

  # What the pages say of an output is then right in whichever folder somebody has applied.
  assert {
    condition = alltrue(concat(
      [
        for example in ["complete", "minimal", "v2", "with-application"] : length(setsubtract(
          ["run_commands", "log_command", "service_accounts", "source_object"],
          flatten([for file in fileset(path.module, "examples/${example}/*.tf") : regexall("(?m)^output \"([a-z_]+)\"", file("${path.module}/${file}"))]),
        )) == 0
      ],
      [
        for output in flatten([
          for file in fileset(path.module, "examples/*/*.tf") :
          [for names in regexall("(?ms)^output \"([a-z_]+)\" [^}]*= module[.]momento_key_rotator[.]?([a-z_]*)", file("${path.module}/${file}")) : { is = names[0], of = names[1] }]
        ]) : output.is == output.of
      ],
    ))
    error_message = "The examples pass the module's outputs on under their own names."
  }

  assert {
    condition = alltrue([
      for name in regexall("(?m)^ +([a-z_]+) += optional\\(", file("${path.module}/variables.tf")) :
      strcontains(file("${path.module}/README.md"), "`${name[0]}`")
    ]) && length(regexall("(?m)= optional\\(", file("${path.module}/variables.tf"))) > 10
    error_message = "An attribute of secrets or alerts is missing from the README's tables."
  }

  assert {
    condition = alltrue([
      for permission, role in local.permissions :
      strcontains(file("${path.module}/README.md"), "`${role}`") && strcontains(file("${path.module}/README.md"), trimprefix(permission, "secretmanager.versions"))
    ])
    error_message = "A permission or its role is missing from the README's table."
  }
}

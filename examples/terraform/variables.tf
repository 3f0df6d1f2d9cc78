# Where the template and the zip are: `hangup package --bucket` prints all three.

variable "template_url" {
  description = "Address of the template of the timeout alone in S3."
  type        = string

  validation {
    condition     = startswith(var.template_url, "https://")
    error_message = "template_url must begin with https://: CloudFormation reads the template from S3."
  }
}

variable "code_bucket" {
  description = "S3 bucket with the zip of the functions, in the Region of the stack."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.code_bucket))
    error_message = "code_bucket must be the name of an S3 bucket."
  }
}

variable "code_key" {
  description = "Key of the zip in that bucket."
  type        = string

  validation {
    condition     = can(regex("^[!-~]+$", var.code_key)) && length(var.code_key) <= 1024
    error_message = "code_key must be the key of an object in S3."
  }
}

# What it closes.

variable "api_id" {
  description = "Id of the WebSocket API: aws_apigatewayv2_api.<name>.id."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9]{1,64}$", var.api_id))
    error_message = "api_id must be the id of an API, such as a1b2c3d4e5, not its ARN or address."
  }
}

variable "stage_name" {
  description = "Name of the stage whose connections are closed."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,128}$", var.stage_name))
    error_message = "stage_name must be the name of a stage: 1 to 128 letters, digits, hyphens or underscores."
  }
}

variable "management_endpoint" {
  description = "The @connections URL with the stage, where it is not the stage's own (a custom domain). Empty: the stage's own."
  type        = string
  default     = ""

  validation {
    condition     = var.management_endpoint == "" || startswith(var.management_endpoint, "https://")
    error_message = "management_endpoint must begin with https:// (wss:// is the address for clients)."
  }
}

# The table.

variable "table_name" {
  description = "Name of the DynamoDB table with the connections."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{3,255}$", var.table_name))
    error_message = "table_name must be the name of a DynamoDB table, not its ARN."
  }
}

variable "table_key_arn" {
  description = "ARN of the customer-managed KMS key of the table. Empty: the table has none."
  type        = string
  default     = ""

  validation {
    condition     = var.table_key_arn == "" || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.table_key_arn))
    error_message = "table_key_arn must be the ARN of a KMS key (not of an alias), or empty."
  }
}

variable "table_schema" {
  description = "The table schema (docs/reference/tables.md) as an object, for a table with other keys, names or times. null: connectionId, connectedAt, lastActivityTime."
  type        = any
  default     = null

  validation {
    condition     = var.table_schema == null || can(keys(var.table_schema))
    error_message = "table_schema must be an object, such as { connection_id = \"id\" }, not its JSON."
  }

  validation {
    condition = var.table_schema == null || alltrue([for field in try(keys(var.table_schema), []) : contains([
      "connection_id", "id_prefix", "key_attributes", "session_id", "role", "session_run",
      "connected_at", "connected_at_unit", "connected_at_offset_s",
      "last_activity", "last_activity_unit", "last_activity_offset_s",
      "gateway_active", "noticed_at", "handovers", "claim_expires_at", "claim_token",
      "expires_at", "target_language", "only", "index", "partition",
    ], field)])
    error_message = "table_schema must have the fields of a table schema alone: docs/reference/tables.md has them."
  }

  validation {
    condition     = var.table_schema == null || length(jsonencode(var.table_schema)) <= 2048
    error_message = "table_schema must be at most 2,048 bytes of JSON."
  }
}

variable "state_table" {
  description = "Keep Hangup's own attributes in a table of its own, made by the stack. For a table with a stream or another owner."
  type        = bool
  default     = false
}

# When a connection is idle.

variable "activity" {
  description = "Where activity comes from. recorded: your functions write it; gateway: API Gateway's own account, and no code of yours changes."
  type        = string
  default     = "recorded"

  validation {
    condition     = contains(["recorded", "gateway"], var.activity)
    error_message = "activity must be recorded or gateway."
  }

  validation {
    condition     = var.activity == "recorded" || (var.last_active_counts != "both" && var.activity_resolution_seconds == 0)
    error_message = "activity must be recorded with last_active_counts = \"both\" or activity_resolution_seconds: gateway has no records of activity."
  }
}

variable "idle_timeout_seconds" {
  description = "Seconds of silence after which a connection is closed."
  type        = number
  default     = 120

  validation {
    condition     = floor(var.idle_timeout_seconds) == var.idle_timeout_seconds && var.idle_timeout_seconds >= 1 && var.idle_timeout_seconds <= 7200
    error_message = "idle_timeout_seconds must be a whole number from 1 to 7200."
  }

  validation {
    condition     = !var.precise || var.idle_timeout_seconds >= 75
    error_message = "idle_timeout_seconds must be at least 75 with precise: with less, a connection may be idle before a sweep has seen it."
  }
}

variable "timeouts_by_role" {
  description = "Timeouts in seconds of roles that have one of their own, such as { speaker = 300 }."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(var.timeouts_by_role) <= 10
    error_message = "timeouts_by_role must have at most 10 roles."
  }

  validation {
    condition     = alltrue([for role in keys(var.timeouts_by_role) : can(regex("^[A-Za-z0-9_.-]{1,64}$", role))])
    error_message = "timeouts_by_role must have roles of letters, digits, dots, hyphens or underscores."
  }

  validation {
    condition     = alltrue([for seconds in values(var.timeouts_by_role) : floor(seconds) == seconds && seconds >= (var.precise ? 75 : 1) && seconds <= 7200])
    error_message = "timeouts_by_role must have whole numbers of seconds from 1 (75 with precise) to 7200."
  }
}

variable "activity_resolution_seconds" {
  description = "The ACTIVITY_RESOLUTION_SECONDS of the functions that record activity: they write at most once in this many seconds."
  type        = number
  default     = 0

  validation {
    condition     = floor(var.activity_resolution_seconds) == var.activity_resolution_seconds && var.activity_resolution_seconds >= 0 && var.activity_resolution_seconds <= 7200
    error_message = "activity_resolution_seconds must be a whole number from 0 to 7200."
  }

  validation {
    condition     = var.activity_resolution_seconds < min(var.idle_timeout_seconds, values(var.timeouts_by_role)...)
    error_message = "activity_resolution_seconds must be below each timeout."
  }
}

variable "last_active_counts" {
  description = "Whose messages move API Gateway's lastActiveAt: unsettled, client or both. both only where every route records activity."
  type        = string
  default     = "unsettled"

  validation {
    condition     = contains(["unsettled", "client", "both"], var.last_active_counts)
    error_message = "last_active_counts must be unsettled, client or both."
  }
}

# What happens then.

variable "mode" {
  description = "close, or observe: decide and report, and change nothing."
  type        = string
  default     = "close"

  validation {
    condition     = contains(["close", "observe"], var.mode)
    error_message = "mode must be close or observe."
  }
}

variable "hand_over" {
  description = "What happens to the record of a closed connection: always, if_left, delete or never."
  type        = string
  default     = "always"

  validation {
    condition     = contains(["always", "if_left", "delete", "never"], var.hand_over)
    error_message = "hand_over must be always, if_left, delete or never."
  }
}

variable "disconnect_function_arn" {
  description = "ARN of the function behind $disconnect. Needed with hand_over always and if_left."
  type        = string
  default     = ""

  validation {
    condition     = var.disconnect_function_arn == "" || can(regex("^arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9:$_-]+$", var.disconnect_function_arn))
    error_message = "disconnect_function_arn must be the ARN of a Lambda function, or empty."
  }

  validation {
    condition     = contains(["delete", "never"], var.hand_over) == (var.disconnect_function_arn == "")
    error_message = "disconnect_function_arn is needed with hand_over always and if_left, and never called with delete and never."
  }
}

variable "closes_per_second" {
  description = "Closes a second, of all functions together. 0: unlimited."
  type        = number
  default     = 200

  validation {
    condition     = floor(var.closes_per_second) == var.closes_per_second && var.closes_per_second >= 0 && var.closes_per_second <= 1000
    error_message = "closes_per_second must be a whole number from 0 to 1000."
  }
}

variable "precise" {
  description = "Close at the deadline instead of up to a minute after it: adds two queues and a function."
  type        = bool
  default     = false
}

variable "close_functions" {
  description = "With precise: how many functions close at once. One is needed for each 120 closes a second, and 4 at least."
  type        = number
  default     = 4

  validation {
    condition     = floor(var.close_functions) == var.close_functions && var.close_functions >= 4 && var.close_functions <= 16
    error_message = "close_functions must be a whole number from 4 to 16."
  }
}

variable "shards" {
  description = "Sweeps a minute at the same time, each of a part of the table."
  type        = number
  default     = 1

  validation {
    condition     = contains([1, 2, 4, 8, 16], var.shards)
    error_message = "shards must be 1, 2, 4, 8 or 16."
  }
}

variable "reserve_concurrency" {
  description = "Reserve concurrent executions for the sweep. false where the account cannot (a quota of 10)."
  type        = bool
  default     = true
}

variable "architecture" {
  description = "Processor of the functions, that of the zip."
  type        = string
  default     = "arm64"

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture must be arm64 or x86_64."
  }
}

# What it reports.

variable "deployment" {
  description = "Keeps the metrics of several deployments apart. Empty: the name of the stack."
  type        = string
  default     = ""

  validation {
    condition     = can(regex("^[A-Za-z0-9._/#:-]{0,248}$", var.deployment))
    error_message = "deployment must have at most 248 letters, digits or ._/#:- characters."
  }
}

variable "metric_roles" {
  description = "Names of roles that the metrics tell apart."
  type        = list(string)
  default     = ["speaker", "listener"]

  validation {
    condition     = length(var.metric_roles) >= 1 && length(var.metric_roles) <= 10
    error_message = "metric_roles must be 1 to 10 names."
  }

  validation {
    condition     = alltrue([for role in var.metric_roles : can(regex("^[A-Za-z0-9_.-]{1,64}$", role))])
    error_message = "metric_roles must be names of letters, digits, dots, hyphens or underscores."
  }
}

variable "alarm_topic_arn" {
  description = "ARN of the SNS topic that the alarms notify. Empty: nobody is notified."
  type        = string
  default     = ""

  validation {
    condition     = var.alarm_topic_arn == "" || can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]+$", var.alarm_topic_arn))
    error_message = "alarm_topic_arn must be the ARN of an SNS topic, or empty."
  }
}

variable "dashboard" {
  description = "Make a CloudWatch dashboard ($3 a month above an account's first three)."
  type        = bool
  default     = false
}

variable "log_level" {
  description = "The lowest level of log lines: DEBUG, INFO, WARNING, ERROR or CRITICAL."
  type        = string
  default     = "INFO"

  validation {
    condition     = contains(["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)
    error_message = "log_level must be DEBUG, INFO, WARNING, ERROR or CRITICAL."
  }
}

variable "log_retention_days" {
  description = "Days that log lines are kept."
  type        = number
  default     = 30

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a number of days that CloudWatch Logs knows, such as 30."
  }
}

variable "name" {
  description = "Name of the CloudFormation stack."
  type        = string
  default     = "hangup"

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,127}$", var.name))
    error_message = "name must begin with a letter and have at most 128 letters, digits or hyphens."
  }
}

variable "tags" {
  description = "Tags of the stack and of what it makes."
  type        = map(string)
  default     = {}
}

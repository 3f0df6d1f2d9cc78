// A chat in TypeScript that takes the idle timeout.
import * as cdk from "aws-cdk-lib";
import * as apigatewayv2 from "aws-cdk-lib/aws-apigatewayv2";
import { WebSocketLambdaIntegration } from "aws-cdk-lib/aws-apigatewayv2-integrations";
import * as dynamodb from "aws-cdk-lib/aws-dynamodb";
import * as lambda from "aws-cdk-lib/aws-lambda";
import { Asset } from "aws-cdk-lib/aws-s3-assets";
import { CfnInclude } from "aws-cdk-lib/cloudformation-include";
import type { Construct } from "constructs";

class ChatStack extends cdk.Stack {
  constructor(scope: Construct, id: string) {
    super(scope, id);
    const table = new dynamodb.Table(this, "Connections", {
      partitionKey: { name: "connectionId", type: dynamodb.AttributeType.STRING },
      billingMode: dynamodb.BillingMode.PAY_PER_REQUEST,
    });
    const route = (name: string, action: string) => {
      const handler = new lambda.Function(this, name, {
        runtime: lambda.Runtime.NODEJS_22_X,
        architecture: lambda.Architecture.ARM_64,
        handler: `routes.${name}`,
        code: lambda.Code.fromAsset("../node", { exclude: [".*", "*", "!*.mjs"] }),
        environment: { CONNECTIONS_TABLE: table.tableName },
      });
      table.grant(handler, action);
      return handler;
    };
    const disconnect = route("disconnect", "dynamodb:DeleteItem");
    const at = (name: string, handler: lambda.IFunction) => ({
      integration: new WebSocketLambdaIntegration(`${name}Call`, handler),
    });
    const api = new apigatewayv2.WebSocketApi(this, "Api", {
      connectRouteOptions: at("connect", route("connect", "dynamodb:PutItem")),
      defaultRouteOptions: at("message", route("message", "dynamodb:UpdateItem")),
      disconnectRouteOptions: at("disconnect", disconnect),
    });
    const stage = new apigatewayv2.WebSocketStage(this, "Stage", {
      webSocketApi: api,
      stageName: "live",
      autoDeploy: true,
    });

    // Everything that Hangup adds:
    const code = new Asset(this, "HangupCode", { path: "hangup.zip" });
    new IdleTimeout(this, "Hangup", {
      CodeBucket: code.s3BucketName,
      CodeKey: code.s3ObjectKey,
      ApiId: api.apiId,
      StageName: stage.stageName,
      TableName: table.tableName,
      DisconnectFunctionArn: disconnect.functionArn,
      IdleTimeoutSeconds: "90",
    });
  }
}

/** The template as it is. In a stack of its own, because its conditions may only name parameters. */
class IdleTimeout extends cdk.NestedStack {
  constructor(scope: Construct, id: string, parameters: { [name: string]: string }) {
    super(scope, id, { parameters });
    new CfnInclude(this, "Template", { templateFile: "hangup.template.json" });
  }
}

const app = new cdk.App();
new ChatStack(app, "Chat");
